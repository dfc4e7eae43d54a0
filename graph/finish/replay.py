"""Training the winner again from best/ alone, prepared and checked as in a run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from ...errors import InputError, IntegrityError, TrexError, reading
from ...evaluation.base_models import model_hash, resolve_model
from ...evaluation.grader.client import GraderClient
from ...evaluation.grader.messages import IDENTITY
from ...evaluation.results import Evaluation, Score
from ...evaluation.task import Task
from ...evaluation.task_file import check_task
from ...files import read_json, read_yaml
from ...sealed_folder import MANIFEST, changed_files
from ...training.data.build import RECIPE, BuiltDataset
from ...training.data.recipe import DataRecipe
from ...training.data.sources import check_sources, content_hash
from ...training.jobs.identity import make_trial
from ...training.jobs.job import Job, JobFailed, Trial
from ...training.jobs.job_store import JobStore
from ...training.preflight import preflight
from ...training.runners import DEFAULT_LAUNCHER, LAUNCHERS
from ...training.runners.job_runner import JobRunner, OnProgress
from ...training.runners.protocol import LauncherOptions
from ..executor.data_builder import DataBuilder
from ..run.machine import Machine
from ..run.migration import migrated
from ..run.settings import Settings
from .export import PLAN, TASK, Origin, WinnerPlan

_INPUTS = (RECIPE, PLAN, TASK, IDENTITY, MANIFEST)

_CLOSED = "the winner cannot be trained again"


class Replay(BaseModel):
    """A winner trained again: trial id and score of the run and of the replay."""

    model_config = ConfigDict(frozen=True)

    trial: str
    replayed_trial: str
    dev: Score
    replayed_dev: Score
    repeats_removed: int = Field(description="Rows that repeat dev or test items, and were not trained on")
    differences: list[str] = Field(description="What is not as in the run, a sentence each")


def replay(best: Path, workspace: Path, on_progress: OnProgress) -> Replay:
    """Train the winner again from best/ alone, in `workspace`, and score it on `search`.

    The data set passes the contamination gate and the preflight, as in a run. Raises InputError if best/ is
    incomplete, PlanError and IntegrityError like the preparation of a run, TrexError if the training fails.
    """
    plan, recipe, task = _read(best)
    check_task(task)
    check_sources(task)
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
        prepared = DataBuilder(task, workspace / "datasets", None, grader).prepare(recipe)
        if prepared.contamination.refusal is not None:
            raise IntegrityError(f"the replay of {best} stops: {prepared.contamination.refusal}")
        trial = make_trial(
            plan.training, model, model_hash(model), prepared.dataset, plan.seed, plan.threads, plan.device
        )
        sources = {stream.source: content_hash(task, stream.source) for stream in recipe.streams}
        differences = [*_differences(best, plan, trial, sources), *_scoring(best, workspace)]
        _check(plan, model, prepared.dataset, trial, differences)
        folder = workspace / "trials" / trial.id
        job = Job(trial=trial, rung=0, stop_step=plan.step, folder=folder)
        runner.run(job, None, on_progress)
        evaluation: Evaluation = grader.evaluate(folder / "rungs" / "0" / "adapter", "search")
    except JobFailed as failure:
        raise TrexError(f"the replay of {best} failed: {failure.message}") from failure
    finally:
        grader.close()
        runner.close()
    return Replay(
        trial=plan.trial,
        replayed_trial=trial.id,
        dev=plan.dev,
        replayed_dev=evaluation.score,
        repeats_removed=prepared.contamination.removed,
        differences=differences,
    )


def _check(
    plan: WinnerPlan, model: Path, dataset: BuiltDataset, trial: Trial, differences: list[str]
) -> None:
    """Raise TrexError for a training that would fail, or that ends before the step where the run's ended."""
    problems = [problem.message for problem in preflight(dataset.folder, plan.training, model)]
    if trial.total_steps < plan.step:
        problems.append(
            f"{dataset.rows} rows give {trial.total_steps} training steps, but the run's training ended at "
            f"step {plan.step}"
        )
    if problems:
        raise TrexError(f"the winner cannot be trained again: {'; '.join([problems[0], *differences])}")


def _differences(best: Path, plan: WinnerPlan, trial: Trial, sources: dict[str, str]) -> Iterator[str]:
    """What determines the weights and is not as in the run."""
    edited = [name for name in changed_files(best) if name in _INPUTS] if (best / MANIFEST).exists() else []
    yield from (f"{name} differs from the run's" for name in edited)
    if plan.origin is None:
        if trial.id != plan.trial:
            yield "another trial id: this folder was written by an earlier version, which kept no hashes to compare"
        return
    known, now = plan.origin, Origin.of(trial, sources)
    changed = [name for name, digest in sources.items() if known.sources.get(name, digest) != digest]
    yield from (f"source '{name}' differs from the run's" for name in changed)
    if now.base_model != known.base_model:
        yield "the base model differs from the run's"
    if now.dataset != known.dataset and not edited and not changed:
        yield "the code that builds data sets differs from the run's"
    if now.arithmetic != known.arithmetic or now.environment != known.environment:
        yield "the environment (training code, libraries or processor) differs from the run's"
    if trial.id != plan.trial and not edited and now == known:
        yield "plan.yaml names another trial than the one that it describes"


def _scoring(best: Path, workspace: Path) -> Iterator[str]:
    """Why the two scores are not comparable: dev, the metric or the scoring code is another."""
    if not (best / IDENTITY).exists():
        return
    now = read_json(workspace / IDENTITY)
    with reading(best / IDENTITY, "remove it, and the way of scoring is not compared"):
        known = dict(read_json(best / IDENTITY))
    changed = sorted(key for key in known | now if known.get(key) != now.get(key) and key != "test")
    if changed:
        yield f"scored otherwise than in the run: {', '.join(changed)} differ"


def _read(best: Path) -> tuple[WinnerPlan, DataRecipe, Task]:
    for name in (PLAN, RECIPE, TASK):
        if not (best / name).exists():
            raise InputError(
                f"{best} is incomplete ({best / name} is missing): a run without a winner has no such folder"
            )
    with reading(best / PLAN, _CLOSED):
        plan = WinnerPlan.model_validate(migrated("winner", read_yaml(best / PLAN)))
    with reading(best / RECIPE, _CLOSED):
        recipe = DataRecipe.model_validate(read_yaml(best / RECIPE))
    with reading(best / TASK, _CLOSED):
        return plan, recipe, Task.model_validate(read_json(best / TASK))
