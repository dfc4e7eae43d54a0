"""Is it the plan or the luck of its seed? Finalists trained again with seeds that the search never used.

The search trains every configuration with one seed, so that its choice is partly a choice among seeds. What a
plan is worth is its mean over seeds.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass

from ...evaluation.failures.analysis import measured_of, read_predictions
from ...evaluation.metrics import metric
from ...evaluation.results import Evaluation, Score
from ...evaluation.statistics.seeds import seeds_and_items_measured
from ..run.runtime import Runtime
from ..tree.experiment import Experiment, TrialRecord

_APART = 1_000_003
"""Seeds lie so far from the run's own that no run with a seed nearby has used them."""


@dataclass(frozen=True)
class FreshSeeds:
    """One finalist's evaluations on `confirm`: with the run's seed first, then with fresh ones."""

    evaluations: tuple[Evaluation, ...]

    @property
    def mean(self) -> float:
        """The mean score over seeds."""
        return sum(evaluation.score.value for evaluation in self.evaluations) / len(self.evaluations)

    def score(self, runtime: Runtime) -> Score | None:
        """The mean with an interval over items and seeds; None if there is one seed only."""
        if len(self.evaluations) < 2:
            return None
        said = [measured_of(read_predictions(runtime.directory.path, each)) for each in self.evaluations]
        return seeds_and_items_measured(metric(runtime.task.metric), said)


def try_fresh_seeds(
    runtime: Runtime, experiment: Experiment, trial: TrialRecord, confirm: Evaluation
) -> FreshSeeds:
    """Train a finalist's plan again while the budget allows, as many at once as there are slots."""
    seeds = [runtime.settings.seed + _APART * number for number in range(1, runtime.settings.fresh_seeds + 1)]

    def evaluate(seed: int) -> Evaluation | None:
        dataset = experiment.datasets.get(trial.recipe)
        if dataset is None or not runtime.budget.allows(trial.train_seconds + trial.load_seconds):
            return None
        adapter = runtime.retrain(trial.training, dataset.fingerprint, seed)
        if adapter is None:
            return None
        evaluation = runtime.grader.evaluate(adapter, "confirm")
        if not runtime.settings.keep_all:
            runtime.runner.store.prune(adapter.parents[2], keep_adapter=False)
        return evaluation

    with ThreadPoolExecutor(max_workers=runtime.settings.slots) as pool:
        # Each in a copy of this context: that is how a graph's node finds whom to tell of progress.
        waiting = [pool.submit(copy_context().run, evaluate, seed) for seed in seeds]
        found = [evaluation.result() for evaluation in waiting]
    return FreshSeeds((confirm, *(evaluation for evaluation in found if evaluation is not None)))
