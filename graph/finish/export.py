"""Writing the folder best/: the winner's adapter, recipe, plan, task and model card, enough to train it again."""

from __future__ import annotations

import shutil

from pydantic import BaseModel, ConfigDict, Field

from ...evaluation.engines import DEFAULT_ENGINE
from ...evaluation.results import Score
from ...files import write_json, write_yaml
from ...training.data.build import RECIPE
from ...training.plan import TrainingPlan
from ..run.runtime import Runtime
from ..tree.experiment import Experiment, TrialRecord
from .finish_record import FinishRecord
from .model_card import write_model_card

CARD = "README.md"


class WinnerPlan(BaseModel):
    """plan.yaml: the training plan, and everything else that determines the weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trial: str
    seed: int
    threads: int
    grader_threads: int
    engine: str = Field(default=DEFAULT_ENGINE, description="The inference engine that scored it")
    device: str
    step: int = Field(description="Where training ended, in steps of the full schedule")
    training: TrainingPlan
    dev: Score = Field(description="Its score on `search`")


def export_best(
    runtime: Runtime, experiment: Experiment, trial: TrialRecord | None, record: FinishRecord
) -> None:
    """Write best/; without a winning trial the folder is removed, because the base model is the best."""
    best = runtime.directory.best
    dataset = experiment.datasets.get(trial.recipe) if trial is not None else None
    if trial is None or dataset is None or trial.evaluation is None:
        shutil.rmtree(best, ignore_errors=True)
        return
    partial = best.with_name(".best")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    shutil.copytree(
        runtime.directory.trials / trial.id / "rungs" / str(trial.rung) / "adapter", partial / "adapter"
    )
    shutil.copyfile(runtime.directory.datasets / dataset.fingerprint / RECIPE, partial / "recipe.yaml")
    plan = WinnerPlan(
        trial=trial.id,
        seed=runtime.settings.seed,
        threads=runtime.settings.threads,
        grader_threads=runtime.settings.grader_threads,
        engine=runtime.settings.engine,
        device=runtime.settings.device,
        step=trial.step,
        training=trial.training,
        dev=trial.evaluation.score,
    )
    write_yaml(partial / "plan.yaml", plan.model_dump(mode="json"))
    write_json(partial / "task.json", runtime.task.model_dump(mode="json"))
    write_model_card(partial / CARD, runtime.task, experiment, trial, record)
    shutil.rmtree(best, ignore_errors=True)
    partial.replace(best)
