"""Writing the folder best/: the winner's adapter, recipe, plan, task and model card, enough to train it again.

A winner that continues from other weights has the same of these in start/, without the weights. The folder is sealed:
its manifest has the hash of every file.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from ...errors import IntegrityError
from ...evaluation.engines import DEFAULT_ENGINE
from ...evaluation.grader import audit
from ...evaluation.grader import evaluation_records as ledger
from ...evaluation.grader.messages import IDENTITY
from ...evaluation.results import Score
from ...files import read_yaml, write_json, write_yaml
from ...sealed_folder import seal
from ...training.data.build import RECIPE
from ...training.data.models.answer_cache import LLM_ANSWERS, read_answers, write_answers
from ...training.data.recipe import DataRecipe
from ...training.jobs.job import Trial
from ...training.jobs.trial_folder import TrialFolder
from ...training.plan import TrainingPlan
from ..run.runtime import Runtime
from ..tree.experiment import Experiment, TrialRecord, trial_dataset
from ..tree.tree import Tree
from .finish_record import FinishRecord
from .model_card import write_model_card
from .training_chain import training_chain

CARD, PLAN, TASK = "README.md", "plan.yaml", "task.json"
START = "start"
"""The folder with the plan and the recipes of the trial whose weights another one continues from."""


class Origin(BaseModel):
    """What a trial's weights were made from, besides its plan and its recipe: a replay names what differs."""

    model_config = ConfigDict(frozen=True)

    sources: dict[str, str] = Field(description="Hash of the content of each source of the recipe")
    base_model: str = Field(description="Hash")
    dataset: str = Field(
        description="Fingerprint: recipe, sources, prompt and the code that builds data sets"
    )
    later_datasets: tuple[str, ...] = Field(default=(), description="Those of later stages")
    start: str | None = Field(default=None, description="Hash of the weights that it continues from")
    arithmetic: str = Field(description="Resource class: device, hardware, precision")
    environment: str = Field(description="Hash of the training code and the library versions")

    @classmethod
    def of(cls, trial: Trial, sources: dict[str, str]) -> Origin:
        """The origin of a trial's weights."""
        return cls(
            sources=sources,
            base_model=trial.base_model_hash,
            dataset=trial.dataset_fingerprint,
            later_datasets=tuple(each.fingerprint for each in trial.later_stages),
            start=trial.start.hash if trial.start else None,
            arithmetic=trial.resource_class or trial.dtype,
            environment=trial.environment,
        )


class WinnerPlan(BaseModel):
    """plan.yaml: the training plan, and everything else that determines the weights; START has the rest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trial: str
    seed: int = Field(ge=0, lt=2**31)
    threads: int = Field(ge=1)
    grader_threads: int = Field(ge=1)
    engine: str = Field(default=DEFAULT_ENGINE, description="The inference engine that scored it")
    llm: str | None = Field(
        default=None,
        description="Hash of the chat model that `model: llm` of a recipe means; LLM_ANSWERS has its answers",
    )
    device: str
    step: int = Field(ge=1, description="Where training ended, in steps of the full schedule")
    training: TrainingPlan
    dev: Score = Field(description="Its score on `search`")
    origin: Origin | None = Field(default=None, description="None in runs of earlier versions")


def export_best(
    runtime: Runtime, tree: Tree, experiment: Experiment, trial: TrialRecord | None, record: FinishRecord
) -> None:
    """Write best/; without a winning trial the folder is removed, because the base model is the best."""
    best = runtime.directory.best
    if trial is None or trial.evaluation is None:
        shutil.rmtree(best, ignore_errors=True)
        return
    partial = best.with_name(".best")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    shutil.copytree(
        runtime.directory.trials / trial.id / "rungs" / str(trial.rung) / "adapter", partial / "adapter"
    )
    chain = training_chain(tree, experiment, trial)
    for depth, link in enumerate(chain):
        _write_plan(partial.joinpath(*[START] * depth), runtime, *link)
    shutil.copyfile(runtime.directory.path / IDENTITY, partial / IDENTITY)
    write_json(partial / TASK, runtime.task.model_dump(mode="json"))
    write_model_card(partial / CARD, runtime.task, chain, record)
    seal(partial)
    shutil.rmtree(best, ignore_errors=True)
    partial.replace(best)


def _write_plan(folder: Path, runtime: Runtime, experiment: Experiment, trial: TrialRecord) -> None:
    """The plan of a trial and its recipes."""
    dataset = trial_dataset(experiment.datasets, trial.training)
    if dataset is None or trial.evaluation is None:
        raise IntegrityError(f"{experiment.id} has lost the data sets or the score of its trial {trial.id}")
    folder.mkdir(exist_ok=True)
    for name, fingerprint in zip(recipe_files(trial.training), dataset.stage_fingerprints, strict=True):
        shutil.copyfile(runtime.directory.datasets / fingerprint / RECIPE, folder / name)
    folders = [runtime.directory.datasets / fingerprint for fingerprint in dataset.stage_fingerprints]
    export_answers(folders, folder)
    plan = WinnerPlan(
        trial=trial.id,
        seed=runtime.settings.seed,
        threads=runtime.settings.threads,
        grader_threads=runtime.settings.grader_threads,
        engine=runtime.settings.engine,
        llm=runtime.settings.llm.answers_identity if runtime.settings.llm is not None else None,
        device=runtime.settings.device,
        step=trial.step,
        training=trial.training,
        dev=trial.evaluation.score,
        origin=_origin(runtime, trial, [folder / name for name in recipe_files(trial.training)]),
    )
    write_yaml(folder / PLAN, plan.model_dump(mode="json"))


def export_answers(datasets: Sequence[Path], folder: Path) -> None:
    """Write the answers of the chat model that data sets are made of, so that a replay needs no chat model."""
    answers = {key: answer for each in datasets for key, answer in read_answers(each / LLM_ANSWERS).items()}
    if answers:
        write_answers(folder / LLM_ANSWERS, answers)


def recipe_files(training: TrainingPlan) -> list[str]:
    """The file in best/ with the recipe of each stage: recipe.yaml, and others where later stages have others."""
    first = training.stage.recipe
    return [RECIPE if each.recipe == first else f"recipe.{each.recipe}.yaml" for each in training.stages]


def _origin(runtime: Runtime, trial: TrialRecord, recipes: Sequence[Path]) -> Origin:
    streams = [each for path in recipes for each in DataRecipe.model_validate(read_yaml(path)).streams]
    known = ledger.source_hashes(audit.read(runtime.directory.path))
    sources = {stream.source: known[stream.source] for stream in streams}
    return Origin.of(TrialFolder(runtime.directory.trials / trial.id).read_plan(), sources)
