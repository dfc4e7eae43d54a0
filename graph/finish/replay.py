"""Training the winner again from best/ alone."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from ...errors import InputError, TrexError, explain
from ...evaluation.base_models import model_hash, resolve_model
from ...evaluation.grader.client import GraderClient
from ...evaluation.results import Evaluation, Score
from ...evaluation.task import Task
from ...files import read_json, read_yaml
from ...training.data.build import build
from ...training.data.recipe import DataRecipe
from ...training.jobs.identity import make_trial
from ...training.jobs.job import Job, JobFailed
from ...training.jobs.job_store import JobStore
from ...training.runners import DEFAULT_LAUNCHER, LAUNCHERS
from ...training.runners.job_runner import JobRunner, OnProgress
from ...training.runners.protocol import LauncherOptions
from ..run.machine import Machine
from ..run.migration import migrated
from ..run.settings import Settings
from .export import WinnerPlan


class Replay(BaseModel):
    """A winner trained again: trial id and score of the run and of the replay."""

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
    grader = GraderClient(task, workspace, model, threads=plan.grader_threads, engine=plan.engine)
    try:
        dataset = build(recipe, task, workspace / "datasets")
        trial = make_trial(
            plan.training, model, model_hash(model), dataset, plan.seed, plan.threads, plan.device
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


def _read(best: Path) -> tuple[WinnerPlan, DataRecipe, Task]:
    try:
        return (
            WinnerPlan.model_validate(migrated("winner", read_yaml(best / "plan.yaml"))),
            DataRecipe.model_validate(read_yaml(best / "recipe.yaml")),
            Task.model_validate(read_json(best / "task.json")),
        )
    except ValidationError as error:
        raise InputError(f"{best} is damaged: {explain(error)}") from error
    except OSError as error:
        raise InputError(
            f"{best} is incomplete ({error.filename} is missing): a run without a winner has no such folder"
        ) from error
