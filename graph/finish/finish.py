"""When a run ends, and its end: finalists confirmed, the winner frozen, the test split scored once."""

from __future__ import annotations

from ...evaluation.metrics import is_ours
from ...evaluation.results import Evaluation
from ...files import write_json
from ..memory.insight_store import InsightStore
from ..memory.insights import distil
from ..report.call_totals import read_run_calls
from ..report.spend import spend_of_run
from ..report.summary import summarise
from ..report.verification import Stated, verify
from ..report.write_report import write_report
from ..run.estimate import remember_rates
from ..run.runtime import Runtime
from ..steering.lineage import saw_test_split
from ..tree.experiment import Experiment
from ..tree.tree import RawTree, Tree
from .ending import record_end
from .export import export_best
from .finalists import choose_winner
from .finish_record import Ending, FinishRecord
from .paired_gain import gain_on_same_items
from .selection_bias import estimate_selection_bias

ENOUGH_ITEMS = 60
"""With so many right answers and no wrong one, at most 5 % are wrong (95 % confidence; Hanley and Lippman-Hand 1983,
JAMA 249:1743). A search that goes on could not show a better model."""

_RESERVE_MARGIN = 1.5
_CHECK_ITEMS = 300  # what regression checks cost, in items of a task answered by choice


def reserve_seconds(runtime: Runtime, baseline: Evaluation) -> float:
    """What the end of the run will take: finalists on `confirm`, winner and baseline on the test split,
    regression checks.

    By the seconds that an item of the baseline's evaluation took, with a margin.
    """
    per_item = baseline.seconds / baseline.score.n
    confirm = baseline.score.n * (1 / runtime.task.search_fraction - 1)
    test_bytes = runtime.task.test.stat().st_size / max(1, runtime.task.dev.stat().st_size)
    test = baseline.score.n / runtime.task.search_fraction * test_bytes
    baselines = 3 if runtime.task.choices else 2  # with choices the base model is scored both ways
    regression_checks = _CHECK_ITEMS if runtime.settings.regression_checks else 0
    return (
        _RESERVE_MARGIN
        * per_item
        * (runtime.settings.finalists * confirm + baselines * test + regression_checks)
    )


def reason_to_end(runtime: Runtime, tree: Tree) -> Ending | None:
    """Why there is no further round, or None: rounds used up, nothing left to gain, no time for one more round."""
    seconds = [experiment.seconds for experiment in tree if experiment.round > 0]
    if len(seconds) >= runtime.settings.rounds:
        return "rounds"
    if is_ours(runtime.task.metric) and any(_is_perfect(experiment) for experiment in tree):
        return "perfect"
    typical = max(seconds, default=0.0) / min(runtime.settings.slots, runtime.settings.trials)
    # A round that ends before its first rung has no result.
    return None if runtime.budget.allows(max(1.0, typical * runtime.settings.rungs[0])) else "budget"


def _is_perfect(experiment: Experiment) -> bool:
    """Whether its score is the maximum of our metrics on enough items. Of a user's metric the maximum is not known."""
    score = experiment.score
    return score is not None and score.value >= 1.0 and score.n >= ENOUGH_ITEMS


def record_round(runtime: Runtime, tree: Tree, closed: Experiment) -> None:
    """Project the tree to the experiment store, tell the tracker, and remove the files of trials that lost."""
    if runtime.tracking is not None:
        runtime.tracking.tell(closed)
    if runtime.projector.due:
        calls = read_run_calls(runtime.directory.calls)
        runtime.projector.project(tree, spend_of_run(tree, runtime.budget.clock.read(), calls=calls))
    if runtime.settings.checkpoint == "server":
        write_json(runtime.directory.tree, {e.id: e.model_dump(mode="json") for e in tree})
    if not runtime.settings.keep_all:
        needed = {experiment.best_trial for experiment in tree}
        for trial in closed.trials:
            if trial.id:
                runtime.runner.store.prune(
                    runtime.directory.trials / trial.id, keep_adapter=trial.id in needed
                )


def finish(runtime: Runtime, tree: Tree, stored: RawTree) -> FinishRecord:
    """The end of the run, whose state stores its tree so. After a crash it may be called again: nothing is scored
    twice."""
    reason = reason_to_end(runtime, tree)
    if reason is not None and tree.failed:
        return _end_without_result(runtime, tree, stored)
    winner = choose_winner(runtime, tree)
    runtime.grader.seal(winner.adapter)
    test, baseline = runtime.grader.score_test()
    compared = winner.adapter if runtime.settings.regression_checks else None
    checks = runtime.grader.check_regressions(compared) if compared else []
    clock = runtime.budget.clock.read()
    record = FinishRecord(
        reason=reason or "stopped",
        winner_trial=winner.trial.id if winner.trial else None,
        winner_experiment=winner.experiment.id,
        dev=winner.experiment.evaluation,
        confirm=winner.confirm,
        test=test,
        baseline_test=baseline,
        test_gain=gain_on_same_items(runtime, test, baseline) if winner.trial else None,
        selection_bias=estimate_selection_bias(runtime, tree),
        seeds=winner.seeds.score(runtime),
        regression_checks=checks,
        test_seen=saw_test_split(runtime.directory.path),
        active_seconds=clock.active_seconds,
        overhead_seconds=clock.overhead_seconds,
        best_path="best" if winner.trial else None,
    )
    remember_rates(runtime.task, runtime.settings, tree)
    export_best(runtime, tree, winner.experiment, winner.trial, record)
    _conclude(runtime, tree, stored, record)
    return record


def _end_without_result(runtime: Runtime, tree: Tree, stored: RawTree) -> FinishRecord:
    """The end of a run in which every experiment failed: there is nothing that the test split could tell."""
    clock = runtime.budget.clock.read()
    record = FinishRecord(
        reason="failed",
        test_seen=saw_test_split(runtime.directory.path),
        active_seconds=clock.active_seconds,
        overhead_seconds=clock.overhead_seconds,
    )
    _conclude(runtime, tree, stored, record)
    return record


def _conclude(runtime: Runtime, tree: Tree, stored: RawTree, record: FinishRecord) -> None:
    """Keep what was learned, enter the end of the run into the trail, and write the report and finish.json."""
    directory, written = runtime.directory, record.model_dump(mode="json")
    InsightStore(smoke=runtime.settings.smoke).keep(runtime.task, directory.path, distil(tree))
    spend = spend_of_run(tree, runtime.budget.clock.read(), record, calls=read_run_calls(directory.calls))
    runtime.projector.project(tree, spend, record, last=True)
    kept_here = stored if runtime.settings.checkpoint != "server" else None
    record_end(directory.path, written, kept_here)
    verified = verify(directory.run_info(), Stated(tree, record, kept_here, written, done=True))
    write_report(verified, summarise(verified, spend))
    # Written last: a run is done when everything it leaves is there.
    write_json(directory.finish, written)
