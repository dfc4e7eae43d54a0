"""The folder `best/`: the winner, whole: adapter, recipe, plan, task, model card. Enough to make it again."""

from __future__ import annotations

import shutil
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...errors import InputError, TrexError, explain
from ...evaluation.base_models import model_hash, resolve_model
from ...evaluation.grader.client import GraderClient
from ...evaluation.results import Evaluation, Score
from ...evaluation.task import Task
from ...files import read_json, read_yaml, write_json, write_yaml
from ...training.data.build import RECIPE, build
from ...training.data.recipe import DataRecipe
from ...training.jobs.identity import make_trial
from ...training.jobs.job import Job, JobFailed
from ...training.jobs.job_store import JobStore
from ...training.plan import TrainingPlan
from ...training.runners import DEFAULT_LAUNCHER, LAUNCHERS
from ...training.runners.job_runner import JobRunner, OnProgress
from ...training.runners.protocol import LauncherOptions
from ..report.summary import FinishRecord
from ..run.machine import Machine
from ..run.migration import migrated
from ..run.runtime import Runtime
from ..run.settings import Settings
from ..tree.experiment import Experiment, TrialRecord
from .model_card import write_model_card

CARD = "README.md"


class WinningPlan(BaseModel):
    """plan.yaml: the training plan with what else determines the weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trial: str
    seed: int
    threads: int
    grader_threads: int
    device: str
    step: int = Field(description="Where training ended, in steps of the full schedule")
    training: TrainingPlan
    dev: Score = Field(description="Its score on `search`")


def write_best(
    runtime: Runtime, experiment: Experiment, trial: TrialRecord | None, record: FinishRecord
) -> None:
    """Fill best/ anew. Without a winning trial there is no such folder: the base model stays the best."""
    best = runtime.directory.best
    dataset = experiment.datasets.get(trial.recipe) if trial is not None else None
    if trial is None or dataset is None or trial.evaluation is None:
        shutil.rmtree(best, ignore_errors=True)
        return
    making = best.with_name(".best")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir()
    shutil.copytree(
        runtime.directory.trials / trial.id / "rungs" / str(trial.rung) / "adapter", making / "adapter"
    )
    shutil.copyfile(runtime.directory.datasets / dataset.fingerprint / RECIPE, making / "recipe.yaml")
    plan = WinningPlan(
        trial=trial.id,
        seed=runtime.settings.seed,
        threads=runtime.settings.threads,
        grader_threads=runtime.settings.grader_threads,
        device=runtime.settings.device,
        step=trial.step,
        training=trial.training,
        dev=trial.evaluation.score,
    )
    write_yaml(making / "plan.yaml", plan.model_dump(mode="json"))
    write_json(making / "task.json", runtime.task.model_dump(mode="json"))
    write_model_card(making / CARD, runtime.task, experiment, trial, record)
    shutil.rmtree(best, ignore_errors=True)
    making.replace(best)


class Replay(BaseModel):
    """A winner trained again: its trial id and its score beside those of the run."""

    model_config = ConfigDict(frozen=True)

    trial: str
    replayed_trial: str
    dev: Score
    replayed_dev: Score


def replay(best: Path, workspace: Path, on_progress: OnProgress) -> Replay:
    """Train the winner again from best/ alone, in `workspace`, and score it on `search`.

    Raises InputError if best/ is incomplete, TrexError if the training fails.
    """
    plan, recipe, task = _read(best)
    model = resolve_model(task.base_model)
    options = LauncherOptions(
        slots=1,
        threads=plan.threads,
        memory_limit_mb=int(Machine.here().memory_mb * 0.8),
        timeout_s=Settings.model_fields["job_timeout_s"].default,
    )
    runner = JobRunner(LAUNCHERS.load(DEFAULT_LAUNCHER)(options), JobStore())
    grader = GraderClient(task, workspace, model, threads=plan.grader_threads)
    try:
        dataset = build(recipe, task, workspace / "datasets")
        trial = make_trial(
            plan=plan.training,
            base_model=model,
            base_model_hash=model_hash(model),
            dataset=dataset.folder,
            dataset_fingerprint=dataset.fingerprint,
            rows=dataset.rows,
            seed=plan.seed,
            threads=plan.threads,
            device=plan.device,
        )
        folder = workspace / "trials" / trial.id
        job = Job(trial=trial, rung=0, stop_step=plan.step, folder=folder)
        runner.run(job, None, on_progress)
        evaluation: Evaluation = grader.evaluate(folder / "rungs" / "0" / "adapter", "search")
    except JobFailed as failure:
        raise TrexError(f"the replay of {best} failed: {failure.message}") from failure
    finally:
        grader.close()
        runner.close()
    return Replay(trial=plan.trial, replayed_trial=trial.id, dev=plan.dev, replayed_dev=evaluation.score)


def _read(best: Path) -> tuple[WinningPlan, DataRecipe, Task]:
    try:
        return (
            WinningPlan.model_validate(migrated("winner", read_yaml(best / "plan.yaml"))),
            DataRecipe.model_validate(read_yaml(best / "recipe.yaml")),
            Task.model_validate(read_json(best / "task.json")),
        )
    except ValidationError as error:
        raise InputError(f"{best} is damaged: {explain(error)}") from error
    except OSError as error:
        raise InputError(
            f"{best} is incomplete ({error.filename} is missing): a run without a winner has none, "
            "otherwise `trex report` on the run"
        ) from error
