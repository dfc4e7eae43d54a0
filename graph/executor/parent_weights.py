"""The weights that plans with `start: parent` continue from: those that the refined experiment's score is of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...errors import PlanError
from ...training.jobs.job import StartWeights
from ...training.jobs.trial_folder import TrialFolder, read_result
from ...training.weights import continued
from ...training.weights.protocol import WeightsSettings
from ..tree.experiment import Experiment, TrialRecord
from ..tree.tree import Tree


@dataclass(frozen=True)
class ParentWeights:
    """The best weights of an experiment."""

    experiment: str
    settings: WeightsSettings
    start: StartWeights
    fault: str | None = None
    """Why they can't be used, in one sentence."""


def parent_weights(tree: Tree, experiment: Experiment, trials: Path) -> ParentWeights | None:
    """What the plan of an experiment continues from; `trials` is the run's folder.

    None if no trial asks for it, or if the refined experiment and those above it trained nothing: then it is the base
    model. An experiment without weights of its own, because it failed, stands for the nearest one above it with some.
    """
    plan = experiment.plan
    if plan is None or all(trial.training.start == "base" for trial in plan.trials):
        return None
    source = tree.trained(experiment.parent_id) if experiment.parent_id else None
    best = source.best_record if source else None
    if source is None or best is None:
        return None
    result = read_result(TrialFolder(trials / best.id).rung(best.rung) / "result.json")
    start = StartWeights(trial=best.id, rung=best.rung, hash=result.adapter_hash if result else "")
    return ParentWeights(source.id, best.training.weights, start, start.fault(trials))


def with_start(trial: TrialRecord, parent: ParentWeights | None) -> TrialRecord:
    """The trial with the weights that it continues from, and with their settings.

    Without a trained parent it starts from the base model. Raises PlanError for weights that can't be continued from.
    """
    training = trial.training
    if training.start == "base":
        return trial
    if parent is None:
        changed = training.model_copy(update={"start": "base"})
        return trial.repaired(changed, "starts from the base model: nothing that it refines is trained")
    if parent.fault is not None:
        raise PlanError(parent.fault)
    weights = continued(training.weights, parent.settings)
    if weights != training.weights:
        changed = training.model_copy(update={"weights": weights})
        trial = trial.repaired(
            changed, f"weights with the settings of {parent.experiment}, which they continue from"
        )
    return trial.model_copy(update={"start": parent.start})
