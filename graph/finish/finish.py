"""When a run ends, and what its end is: finalists confirmed, the winner frozen, the test split opened once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...evaluation.failures.analysis import counts_of
from ...evaluation.metrics import Measured, metric
from ...evaluation.results import Evaluation, Score
from ...evaluation.statistics.comparison import paired_gain
from ...files import read_json, read_jsonl, write_json
from ..memory.insight_store import InsightStore
from ..memory.insights import distil
from ..report.call_totals import read_run_calls
from ..report.summary import Ending, FinishRecord, Spend, summarise, tally
from ..report.write_report import write_report
from ..run.budget import Reading
from ..run.estimate import remember_rates
from ..run.migration import migrated
from ..run.runtime import Runtime
from ..steering.lineage import saw_test_split
from ..tree.experiment import Experiment, TrialRecord
from ..tree.tree import Tree
from .seed_replication import FreshSeeds, try_fresh_seeds
from .selection_bias import picked
from .winner import write_best

if TYPE_CHECKING:
    from ..llm.protocol import CallRecord

_RESERVE_MARGIN = 1.5
_GUARD_ITEMS = 300  # what guarding a winner takes, in items of a task answered by choice


def reserve_seconds(runtime: Runtime, baseline: Evaluation) -> float:
    """What the end of the run will take: finalists on `confirm`, winner and baseline on the test split, guards.

    By the seconds that an item of the baseline's evaluation took, with a margin.
    """
    per_item = baseline.seconds / baseline.score.n
    confirm = baseline.score.n * (1 / runtime.task.search_fraction - 1)
    test_bytes = runtime.task.test.stat().st_size / max(1, runtime.task.dev.stat().st_size)
    test = baseline.score.n / runtime.task.search_fraction * test_bytes
    baselines = 3 if runtime.task.choices else 2  # with choices the base model is scored both ways
    regression_checks = _GUARD_ITEMS if runtime.settings.regression_checks else 0
    return (
        _RESERVE_MARGIN
        * per_item
        * (runtime.settings.finalists * confirm + baselines * test + regression_checks)
    )


def reason_to_end(runtime: Runtime, tree: Tree) -> Ending | None:
    """Why there is no further round, or None: rounds used up, or no time for one more like those before."""
    seconds = [experiment.seconds for experiment in tree if experiment.round > 0]
    if len(seconds) >= runtime.settings.rounds:
        return "rounds"
    typical = max(seconds, default=0.0) / min(runtime.settings.slots, runtime.settings.trials)
    # A round that would be cut before its first rung ends teaches nothing.
    return None if runtime.budget.allows(max(1.0, typical * runtime.settings.rungs[0])) else "budget"


def keep_record(runtime: Runtime, tree: Tree, closed: Experiment) -> None:
    """Project the tree to the experiment store, and drop what trials that lost leave behind."""
    if runtime.projector.due:
        calls = read_run_calls(runtime.directory.calls)
        runtime.projector.project(tree, spend_of(tree, runtime.budget.clock.read(), calls=calls))
    if runtime.settings.checkpoint == "server":
        write_json(runtime.directory.tree, {e.id: e.model_dump(mode="json") for e in tree})
    if not runtime.settings.keep_all:
        needed = {experiment.best_trial for experiment in tree}
        for trial in closed.trials:
            if trial.id:
                runtime.runner.store.prune(
                    runtime.directory.trials / trial.id, keep_adapter=trial.id in needed
                )


def finish(runtime: Runtime, tree: Tree) -> FinishRecord:
    """The end of the run. After a crash it may be called again: nothing is scored twice."""
    reason = reason_to_end(runtime, tree) or "stopped"
    winner = _choose(runtime, tree)
    runtime.grader.seal(winner.adapter)
    test, baseline = runtime.grader.score_test()
    compared = winner.adapter if runtime.settings.regression_checks else None
    checks = runtime.grader.check_regressions(compared) if compared else []
    record = FinishRecord(
        reason=reason,
        winner_trial=winner.trial.id if winner.trial else None,
        winner_experiment=winner.experiment.id,
        dev=winner.experiment.evaluation,
        confirm=winner.confirm,
        test=test,
        baseline_test=baseline,
        test_gain=_paired_gain(runtime, test, baseline) if winner.trial else None,
        picked=picked(runtime, tree),
        seeds=winner.seeds.score(runtime),
        regression_checks=checks,
        test_seen=saw_test_split(runtime.directory.path),
        best_path="best" if winner.trial else None,
    )
    remember_rates(runtime.task, runtime.settings, tree)
    write_best(runtime, winner.experiment, winner.trial, record)
    InsightStore(smoke=runtime.settings.smoke).keep(runtime.task, runtime.directory.path, distil(tree))
    spend = spend_of(tree, runtime.budget.clock.read(), record, calls=read_run_calls(runtime.directory.calls))
    runtime.projector.project(tree, spend, record, required=True)
    summary = summarise(runtime.directory.run_info(), tree, record, spend)
    write_report(runtime.directory.path, summary, tree, runtime.task)
    # Written last: a run is done when everything it leaves is there.
    write_json(runtime.directory.finish, record.model_dump(mode="json"))
    return record


def spend_of(
    tree: Tree, reading: Reading, record: FinishRecord | None = None, *, calls: Sequence[CallRecord] = ()
) -> Spend:
    """What a run has used."""
    ends = [record.confirm, record.test, record.baseline_test] if record else []
    root = tree.root.evaluation if len(tree) else None
    return tally(
        tree,
        reading.active_seconds,
        evaluation_seconds=sum(evaluation.seconds for evaluation in [root, *ends] if evaluation),
        overhead_seconds=reading.overhead_seconds,
        calls=calls,
    )


@dataclass(frozen=True)
class _Finalist:
    experiment: Experiment
    trial: TrialRecord | None
    adapter: Path | None
    confirm: Evaluation
    seeds: FreshSeeds


def _choose(runtime: Runtime, tree: Tree) -> _Finalist:
    """The finalist with the best score on `search` and `confirm` together; the base model stands among them.

    Finalists are those with the highest posterior value, not the highest score: the maximum of many noisy
    scores is mostly noise.
    """
    ranked = sorted(tree.scored, key=lambda e: (-_posterior(tree, e), e.id))
    finalists = [_finalist(runtime, experiment) for experiment in ranked[: runtime.settings.finalists]]
    return min(finalists, key=lambda f: (-_pooled(f), f.experiment.id))


def _posterior(tree: Tree, experiment: Experiment) -> float:
    posterior = tree.posterior(experiment.id)
    return posterior.mean if posterior else 0.0


def _finalist(runtime: Runtime, experiment: Experiment) -> _Finalist:
    trial = next((t for t in experiment.trials if t.id == experiment.best_trial), None)
    adapter = None if trial is None else adapter_of(runtime.directory.trials, trial)
    confirm = runtime.grader.evaluate(adapter, "confirm")
    seeds = try_fresh_seeds(runtime, experiment, trial, confirm) if trial else FreshSeeds((confirm,))
    return _Finalist(experiment, trial, adapter, confirm, seeds)


def _pooled(finalist: _Finalist) -> float:
    """The score on all of dev, where `confirm` counts with its mean over seeds."""
    confirmed, searched = finalist.confirm.score, finalist.experiment.score
    if searched is None:
        return finalist.seeds.mean
    total = finalist.seeds.mean * confirmed.n + searched.value * searched.n
    return total / (confirmed.n + searched.n)


def adapter_of(trials: Path, trial: TrialRecord) -> Path:
    """Where the adapter of the trial's last finished rung lies."""
    return trials / trial.id / "rungs" / str(trial.rung) / "adapter"


def _paired_gain(runtime: Runtime, after: Evaluation, before: Evaluation) -> Score:
    """The gain on the same items, with its interval over items; only values are read, never items."""
    ours, base = _rows(runtime, after), _rows(runtime, before)
    items = sorted(ours)
    sides = (_measured([rows[item] for item in items]) for rows in (base, ours))
    return paired_gain(metric(runtime.task.metric), *sides).score


def _rows(runtime: Runtime, evaluation: Evaluation) -> dict[str, dict[str, Any]]:
    assert evaluation.predictions is not None
    return {row["id"]: row for row in read_jsonl(runtime.directory.path / evaluation.predictions)}


def _measured(rows: Sequence[dict[str, Any]]) -> Measured:
    return Measured([row["value"] for row in rows], {}, counts_of([row.get("counts") for row in rows]))


def read_finish(path: Path) -> FinishRecord | None:
    """finish.json, None while the run has not ended."""
    return FinishRecord.model_validate(migrated("finish", read_json(path))) if path.exists() else None
