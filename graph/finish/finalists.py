"""The finalists of a run: evaluated on `confirm`, and the winner among them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...evaluation.results import Evaluation
from ..run.runtime import Runtime
from ..tree.experiment import Experiment, TrialRecord
from ..tree.tree import Tree
from .seed_replication import SeedReplication, replicate_seeds


@dataclass(frozen=True)
class Finalist:
    """An experiment with its evaluation on `confirm`; without trial and adapter it is the base model."""

    experiment: Experiment
    trial: TrialRecord | None
    adapter: Path | None
    confirm: Evaluation
    seeds: SeedReplication


def choose_winner(runtime: Runtime, tree: Tree) -> Finalist:
    """The finalist with the best score on `search` and `confirm` together; the base model may be one of them.

    Finalists are those with the highest posterior value, not the highest score: the maximum of many noisy
    scores is mostly noise.
    """
    ranked = sorted(tree.scored, key=lambda e: (-_posterior(tree, e), e.id))
    finalists = [_finalist(runtime, experiment) for experiment in ranked[: runtime.settings.finalists]]
    return min(finalists, key=lambda f: (-_pooled(f), f.experiment.id))


def _posterior(tree: Tree, experiment: Experiment) -> float:
    posterior = tree.posterior(experiment.id)
    return posterior.mean if posterior else 0.0


def _finalist(runtime: Runtime, experiment: Experiment) -> Finalist:
    trial = next((t for t in experiment.trials if t.id == experiment.best_trial), None)
    adapter = None if trial is None else adapter_of(runtime.directory.trials, trial)
    confirm = runtime.grader.evaluate(adapter, "confirm")
    seeds = replicate_seeds(runtime, experiment, trial, confirm) if trial else SeedReplication((confirm,))
    return Finalist(experiment, trial, adapter, confirm, seeds)


def _pooled(finalist: Finalist) -> float:
    """The score on all of dev, where `confirm` counts with its mean over seeds."""
    confirmed, searched = finalist.confirm.score, finalist.experiment.score
    if searched is None:
        return finalist.seeds.mean
    total = finalist.seeds.mean * confirmed.n + searched.value * searched.n
    return total / (confirmed.n + searched.n)


def adapter_of(trials: Path, trial: TrialRecord) -> Path:
    """Where the adapter of the trial's last finished rung lies."""
    return trials / trial.id / "rungs" / str(trial.rung) / "adapter"
