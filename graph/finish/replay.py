"""Training the winner again from best/ alone, prepared and checked as in a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from ...errors import InputError, IntegrityError, PlanError, TrexError, reading
from ...evaluation.base_models import model_hash, resolve_model
from ...evaluation.conversations import Message
from ...evaluation.grader.client import GraderClient
from ...evaluation.grader.messages import IDENTITY
from ...evaluation.metrics import is_ours
from ...evaluation.results import Evaluation, Score
from ...evaluation.task import Task
from ...evaluation.task_file import check_task
from ...files import read_json, read_yaml
from ...home import home
from ...sealed_folder import MANIFEST, changed_files
from ...training.data.build import BuiltDataset
from ...training.data.models.answer_cache import ANSWERS, LLM_ANSWERS, read_answers
from ...training.data.models.model_access import ModelAccess
from ...training.data.models.text_model import Drawing, DrawnAnswer, Draws
from ...training.data.recipe import DataRecipe
from ...training.data.sources import check_sources, content_hash
from ...training.jobs.identity import make_trial
from ...training.jobs.job import Job, JobFailed, Resources, StartWeights, Trial
from ...training.jobs.job_store import JobStore
from ...training.jobs.trial_folder import TrialFolder
from ...training.preflight import preflight
from ...training.runners import DEFAULT_LAUNCHER, LAUNCHERS
from ...training.runners.job_runner import JobRunner, OnProgress
from ...training.runners.protocol import LauncherOptions
from ..executor.data_builder import DataBuilder
from ..llm.model_settings import ModelSettings
from ..run.agents import check_judge, judge_of
from ..run.machine import Machine
from ..run.migration import migrated
from ..run.settings import Settings
from .export import PLAN, START, TASK, Origin, WinnerPlan, recipe_files

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


@dataclass(frozen=True)
class WinnerPart:
    """A trial of best/: the winner in the folder itself, what it continues from in start/, and so on."""

    folder: str
    """'' or 'start/' or 'start/start/' …"""
    plan: WinnerPlan
    recipes: dict[str, DataRecipe]
    """By the name of their file."""

    @property
    def inputs(self) -> set[str]:
        """The files that determine its weights, relative to best/."""
        return {f"{self.folder}{name}" for name in (PLAN, LLM_ANSWERS, *self.recipes)}


def replay(
    best: Path,
    workspace: Path,
    on_progress: OnProgress,
    judge: ModelSettings | None = None,
    allow_python: bool = False,
) -> Replay:
    """Train the winner again from best/ alone, in `workspace`, and score it on `search`; `judge` as in a run.

    What it continues from is trained again first; data sets pass the contamination gate and the preflight. Raises
    InputError if best/ is incomplete, PlanError and IntegrityError like a run's preparation, TrexError if it fails.
    """
    parts, task = read_winner(best)
    plan = parts[0].plan
    check_task(task)
    check_sources(task)
    if is_ours(task.metric):
        check_judge(task, judge)
    model = resolve_model(task.base_model)
    options = LauncherOptions(slots=1, threads=plan.threads)
    resources = Resources(
        devices=1 if plan.device == "cuda" else 0,
        memory_mb=int(Machine.here().memory_mb * 0.8),
        seconds=Settings.model_fields["job_timeout_s"].default,
    )
    runner = JobRunner(LAUNCHERS.load(DEFAULT_LAUNCHER)(options), JobStore())
    grader = _grader(task, workspace, model, plan, judge)
    try:
        models = _models(best, task, parts)
        builder = DataBuilder(task, workspace / "datasets", None, grader, models, allow_python)
        known = [{name: builder.prepare(recipe) for name, recipe in part.recipes.items()} for part in parts]
        prepared = [each for data in known for each in data.values()]
        for each in prepared:
            if each.contamination.refusal is not None:
                raise IntegrityError(f"the replay of {best} stops: {each.contamination.refusal}")
        start, differences = None, _edited(best, parts)
        for part, data in reversed(list(zip(parts, known, strict=True))):
            built = [data[name].dataset for name in recipe_files(part.plan.training)]
            trial = _trial(part.plan, model, built, start, resources)
            found = _differences(part, trial, task, bool(differences))
            differences += [each for each in found if each not in differences]
            if not part.folder:
                differences += _scoring(best, workspace)
            _check(part.plan, model, built, trial, differences)
            job = Job(trial=trial, rung=0, stop_step=part.plan.step, folder=workspace / "trials" / trial.id)
            result = runner.run(job, None, on_progress)
            start = StartWeights(trial=trial.id, rung=0, hash=result.adapter_hash)
        evaluation: Evaluation = grader.evaluate(TrialFolder(job.folder).adapter(0), "search")
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
        repeats_removed=sum(each.contamination.removed for each in prepared),
        differences=differences,
    )


def _models(best: Path, task: Task, parts: Sequence[WinnerPart]) -> ModelAccess:
    """The models that steps of the recipes may use; answers are taken from best/ and from TREX_HOME."""
    plan, kept = parts[0].plan, dict[str, DrawnAnswer | None]()
    for part in parts:
        kept |= read_answers(best / part.folder / LLM_ANSWERS)
    return ModelAccess(
        task,
        home() / "store" / "datasets" / ANSWERS,
        plan.engine,
        plan.grader_threads,
        open_llm=lambda: _KeptAnswers(plan.llm or ""),
        kept=kept,
    )


@dataclass(frozen=True)
class _KeptAnswers:
    """The chat model of the run as a `TextModel`: it is not called again, so that answers can only be on disk."""

    identity: str
    calls_at_once: int = 1

    def draw(self, conversations: Sequence[Sequence[Message]], numbers: range, draws: Draws) -> Drawing:
        """Raises PlanError: an answer that is asked for here is missing."""
        raise PlanError(
            f"an answer of the run's chat model is neither in best/{LLM_ANSWERS} nor in TREX_HOME, and it is not asked "
            "again: use best/ as the run wrote it"
        )

    def close(self) -> None:
        """Nothing is held."""


def _trial(
    plan: WinnerPlan,
    model: Path,
    built: Sequence[BuiltDataset],
    start: StartWeights | None,
    resources: Resources,
) -> Trial:
    return make_trial(
        plan.training,
        model,
        model_hash(model),
        built,
        plan.seed,
        plan.threads,
        plan.device,
        resources=resources,
        start=start,
    )


def _grader(
    task: Task, workspace: Path, model: Path, plan: WinnerPlan, judge: ModelSettings | None
) -> GraderClient:
    asked = None
    if judge is not None:
        from ..llm.call_ledger import CallLedger

        ledger = CallLedger(workspace / "calls.jsonl", judge.token_budget, judge.cost_budget_usd)
        asked = judge_of(task, judge, ledger)
    return GraderClient(task, workspace, model, threads=plan.grader_threads, engine=plan.engine, judge=asked)


def _check(
    plan: WinnerPlan, model: Path, datasets: Sequence[BuiltDataset], trial: Trial, differences: list[str]
) -> None:
    """Raise TrexError for a training that would fail, or that ends before the step where the run's ended."""
    problems = [
        problem.message
        for stage, dataset in zip(plan.training.stages, datasets, strict=True)
        for problem in preflight(dataset.folder, plan.training.model_copy(update={"stages": (stage,)}), model)
    ]
    if trial.total_steps < plan.step:
        problems.append(
            f"{datasets[0].rows} rows give {trial.total_steps} training steps, but the run's training ended at "
            f"step {plan.step}"
        )
    if problems:
        raise TrexError(f"the winner cannot be trained again: {'; '.join([problems[0], *differences])}")


def _edited(best: Path, parts: Sequence[WinnerPart]) -> list[str]:
    """The files of best/ that determine the weights and are not as the run wrote them, a sentence each."""
    if not (best / MANIFEST).exists():
        # Folders of earlier versions have none.
        return [] if any(part.plan.origin is None for part in parts) else [f"{MANIFEST} is missing"]
    inputs = {TASK, IDENTITY, MANIFEST}.union(*(part.inputs for part in parts))
    edited = [name for name in changed_files(best) if name in inputs]
    return [f"{name} differs from the run's" for name in edited]


def _differences(part: WinnerPart, trial: Trial, task: Task, explained: bool) -> list[str]:
    """What else determines the weights and is not as in the run; `explained`: a difference is known already."""
    names = {stream.source for recipe in part.recipes.values() for stream in recipe.streams}
    sources = {name: content_hash(task, name) for name in sorted(names)}
    if part.plan.origin is None:
        old = (
            "another trial id: this folder was written by an earlier version, which kept no hashes to compare"
        )
        return [old] if trial.id != part.plan.trial else []
    known, now = part.plan.origin, Origin.of(trial, sources)
    changed = [name for name, digest in sources.items() if known.sources.get(name, digest) != digest]
    found = [f"source '{name}' differs from the run's" for name in changed]
    if now.base_model != known.base_model:
        found.append("the base model differs from the run's")
    built = (now.dataset, now.later_datasets) == (known.dataset, known.later_datasets)
    if not built and not explained and not changed:
        found.append("the code that builds data sets differs from the run's")
    if now.arithmetic != known.arithmetic or now.environment != known.environment:
        found.append("the environment (training code, libraries or processor) differs from the run's")
    if now.start != known.start and not explained and not found:
        found.append("the weights that it continues from differ from the run's")
    if trial.id != part.plan.trial and not explained and now == known:
        found.append(f"{part.folder}{PLAN} names another trial than the one that it describes")
    return found


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


def read_winner(best: Path) -> tuple[list[WinnerPart], Task]:
    """The winner, what it continues from, and so on; and the task. Raises InputError if something is missing."""
    parts = [_read_part(best, "")]
    while parts[-1].plan.training.start == "parent":
        parts.append(_read_part(best, f"{parts[-1].folder}{START}/"))
    _require(best, TASK)
    with reading(best / TASK, _CLOSED):
        task = Task.model_validate(read_json(best / TASK))
        task.model_dump_json()  # refuses a surrogate that stands alone
    return parts, task


def _read_part(best: Path, folder: str) -> WinnerPart:
    """The plan, and the recipes by file."""
    _require(best, f"{folder}{PLAN}")
    with reading(best / folder / PLAN, _CLOSED):
        plan = WinnerPlan.model_validate(migrated("winner", read_yaml(best / folder / PLAN)))
    recipes = {}
    for name in dict.fromkeys(recipe_files(plan.training)):
        _require(best, f"{folder}{name}")
        with reading(best / folder / name, _CLOSED):
            recipes[name] = DataRecipe.model_validate(read_yaml(best / folder / name))
    return WinnerPart(folder, plan, recipes)


def _require(best: Path, name: str) -> None:
    if not (best / name).exists():
        raise InputError(
            f"{best} is incomplete ({best / name} is missing): a run without a winner has no such folder"
        )
