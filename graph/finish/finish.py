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
from ..report.html import write_report
from ..report.summary import Ending, FinishRecord, Spend, summarise, tally
from ..run.budget import Reading
from ..run.estimate import remember_rates
from ..run.runtime import Lab
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


def reserve_seconds(lab: Lab, baseline: Evaluation) -> float:
    """What the end of the run will take: finalists on `confirm`, winner and baseline on the test split, guards.

    By the seconds that an item of the baseline's evaluation took, with a margin.
    """
    per_item = baseline.seconds / baseline.score.n
    confirm = baseline.score.n * (1 / lab.task.search_fraction - 1)
    test_bytes = lab.task.test.stat().st_size / max(1, lab.task.dev.stat().st_size)
    test = baseline.score.n / lab.task.search_fraction * test_bytes
    baselines = 3 if lab.task.choices else 2  # with choices the base model is scored both ways
    guards = _GUARD_ITEMS if lab.settings.guards else 0
    return _RESERVE_MARGIN * per_item * (lab.settings.finalists * confirm + baselines * test + guards)


def reason_to_end(lab: Lab, tree: Tree) -> Ending | None:
    """Why there is no further round, or None: rounds used up, or no time for one more like those before."""
    seconds = [experiment.seconds for experiment in tree if experiment.round > 0]
    if len(seconds) >= lab.settings.rounds:
        return "rounds"
    typical = max(seconds, default=0.0) / min(lab.settings.slots, lab.settings.trials)
    # A round that would be cut before its first rung ends teaches nothing.
    return None if lab.budget.allows(max(1.0, typical * lab.settings.rungs[0])) else "budget"


def keep_record(lab: Lab, tree: Tree, closed: Experiment) -> None:
    """Project the tree to the experiment store, and drop what trials that lost leave behind."""
    if lab.projector.due:
        calls = read_run_calls(lab.directory.calls)
        lab.projector.project(tree, spend_of(tree, lab.budget.clock.read(), calls=calls))
    if lab.settings.checkpoint == "server":
        write_json(lab.directory.tree, {e.id: e.model_dump(mode="json") for e in tree})
    if not lab.settings.keep_all:
        needed = {experiment.best_trial for experiment in tree}
        for trial in closed.trials:
            if trial.id:
                lab.runner.prune(lab.directory.trials / trial.id, keep_adapter=trial.id in needed)


def finish(lab: Lab, tree: Tree) -> FinishRecord:
    """The end of the run. After a crash it may be called again: nothing is scored twice."""
    reason = reason_to_end(lab, tree) or "stopped"
    winner = _choose(lab, tree)
    lab.grader.seal(winner.adapter)
    test, baseline = lab.grader.score_test()
    guards = lab.grader.guard(winner.adapter) if winner.adapter and lab.settings.guards else []
    record = FinishRecord(
        reason=reason,
        winner_trial=winner.trial.id if winner.trial else None,
        winner_experiment=winner.experiment.id,
        dev=winner.experiment.evaluation,
        confirm=winner.confirm,
        test=test,
        baseline_test=baseline,
        test_gain=_paired_gain(lab, test, baseline) if winner.trial else None,
        picked=picked(lab, tree),
        seeds=winner.seeds.score(lab),
        guards=guards,
        test_seen=saw_test_split(lab.directory.path),
        best_path="best" if winner.trial else None,
    )
    remember_rates(lab.task, lab.settings, tree)
    write_best(lab, winner.experiment, winner.trial, record)
    InsightStore(smoke=lab.settings.smoke).keep(lab.task, lab.directory.path, distil(tree))
    spend = spend_of(tree, lab.budget.clock.read(), record, calls=read_run_calls(lab.directory.calls))
    lab.projector.project(tree, spend, record, required=True)
    summary = summarise(lab.directory.run_info(), tree, record, spend)
    write_report(lab.directory.path, summary, tree, lab.task)
    # Written last: a run is done when everything it leaves is there.
    write_json(lab.directory.finish, record.model_dump(mode="json"))
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
        own_seconds=reading.own_seconds,
        calls=calls,
    )


@dataclass(frozen=True)
class _Finalist:
    experiment: Experiment
    trial: TrialRecord | None
    adapter: Path | None
    confirm: Evaluation
    seeds: FreshSeeds


def _choose(lab: Lab, tree: Tree) -> _Finalist:
    """The finalist with the best score on `search` and `confirm` together; the base model stands among them.

    Finalists are those with the highest posterior value, not the highest score: the maximum of many noisy
    scores is mostly noise.
    """
    ranked = sorted(tree.scored, key=lambda e: (-_belief(tree, e), e.id))
    finalists = [_finalist(lab, experiment) for experiment in ranked[: lab.settings.finalists]]
    return min(finalists, key=lambda f: (-_pooled(f), f.experiment.id))


def _belief(tree: Tree, experiment: Experiment) -> float:
    belief = tree.posterior(experiment.id)
    return belief.mean if belief else 0.0


def _finalist(lab: Lab, experiment: Experiment) -> _Finalist:
    trial = next((t for t in experiment.trials if t.id == experiment.best_trial), None)
    adapter = None if trial is None else adapter_of(lab.directory.trials, trial)
    confirm = lab.grader.evaluate(adapter, "confirm")
    seeds = try_fresh_seeds(lab, experiment, trial, confirm) if trial else FreshSeeds((confirm,))
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


def _paired_gain(lab: Lab, after: Evaluation, before: Evaluation) -> Score:
    """The gain on the same items, with its interval over items; only values are read, never items."""
    ours, base = _rows(lab, after), _rows(lab, before)
    items = sorted(ours)
    sides = (_measured([rows[item] for item in items]) for rows in (base, ours))
    return paired_gain(metric(lab.task.metric), *sides).score


def _rows(lab: Lab, evaluation: Evaluation) -> dict[str, dict[str, Any]]:
    assert evaluation.predictions is not None
    return {row["id"]: row for row in read_jsonl(lab.directory.path / evaluation.predictions)}


def _measured(rows: Sequence[dict[str, Any]]) -> Measured:
    return Measured([row["value"] for row in rows], {}, counts_of([row.get("counts") for row in rows]))


def read_finish(path: Path) -> FinishRecord | None:
    """finish.json, None while the run has not ended."""
    return FinishRecord.model_validate(read_json(path)) if path.exists() else None
