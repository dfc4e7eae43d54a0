"""Finalists trained again with other seeds.

The search trains every configuration with one seed, so its choice is partly a choice among seeds. The mean over
seeds is the value of a plan.
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
from ..tree.experiment import Experiment, TrialRecord, trial_dataset

_SEED_STRIDE = 1_000_003
"""Distance between seeds: no run with a seed close to this run's has used them."""


@dataclass(frozen=True)
class SeedReplication:
    """One finalist's evaluations on `confirm`: with the run's seed first, then with the others."""

    evaluations: tuple[Evaluation, ...]

    @property
    def mean(self) -> float:
        """The mean score over seeds."""
        return sum(evaluation.score.value for evaluation in self.evaluations) / len(self.evaluations)

    def score(self, runtime: Runtime) -> Score | None:
        """The mean with an interval over items and seeds; None if there is one seed only."""
        if len(self.evaluations) < 2:
            return None
        measured = [measured_of(read_predictions(runtime.directory.path, each)) for each in self.evaluations]
        return seeds_and_items_measured(metric(runtime.task.metric), measured)


def replicate_seeds(
    runtime: Runtime, experiment: Experiment, trial: TrialRecord, confirm: Evaluation
) -> SeedReplication:
    """Train a finalist's plan again while the budget allows, in parallel up to the number of slots.

    What it continues from is not trained again: the other seeds are those of its own stages.
    """
    seeds = [
        runtime.settings.seed + _SEED_STRIDE * number for number in range(1, runtime.settings.fresh_seeds + 1)
    ]

    def evaluate(seed: int) -> Evaluation | None:
        dataset = trial_dataset(experiment.datasets, trial.training)
        if dataset is None or not runtime.budget.allows(trial.train_seconds + trial.load_seconds):
            return None
        adapter = runtime.retrain(trial.training, dataset.stage_fingerprints, seed, trial.start)
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
    return SeedReplication((confirm, *(evaluation for evaluation in found if evaluation is not None)))
