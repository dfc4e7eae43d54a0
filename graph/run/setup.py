"""Starting a run: from the user's input to frozen settings in a run directory."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from langchain_core.runnables import RunnableConfig
from pydantic import TypeAdapter, ValidationError

from ...errors import InputError, explain
from ...evaluation.base_model_check import check_base_model
from ...evaluation.causal_models import ModelShapes
from ...evaluation.check_process import check_files, refuse_unusable
from ...evaluation.engines import ENGINES
from ...evaluation.metrics import is_ours
from ...evaluation.task import Task
from ...evaluation.task_check import TaskCheck
from ...evaluation.task_file import check_task
from ...training.data.sources import check_sources
from ...training.runners import DEFAULT_LAUNCHER
from ..llm.model_settings import ModelSettings, parse_model_settings
from ..researcher import RESEARCHERS
from ..state import RunInput, RunState
from ..tracking.trackers import open_tracker
from ..tree.policies import POLICIES
from .agents import check_judge
from .checkpoint_store import check_checkpoint, checkpoint_kind
from .directory import RunDirectory
from .machine import Machine, job_memory_mb
from .runner_choice import is_cluster, launcher_settings
from .settings import DEFAULT_ROUNDS, DEFAULT_TRIALS, Settings, parse_duration
from .task_lookup import find_task, is_file

# What one trial may train on: on a CPU minutes, on a GPU what the paper allows an experiment.
_EXAMPLES = {"cpu": 1024, "cuda": 50_000}
_CLUSTER_MB = 4096  # of a job on another machine, whose memory is not known here
_FORM = TypeAdapter(RunInput)
_AS_IN_FORM = ("rounds", "trials", "approve", "memory", "diagnosis")
_SMOKE = {"trial_examples": 320, "rung_items": 20, "finalists": 1}


def name_task(task: str | Path | Task, directory: Path) -> str:
    """How `trex run` finds the task again: by name, by file, or by the copy in the run directory."""
    if isinstance(task, Task):
        return str((directory / "task.json").absolute())
    return str(Path(task).absolute()) if is_file(str(task)) else str(task)


def choose_settings(
    task: str, directory: Path, *, smoke: bool = False, model: ModelShapes | None = None, **asked: object
) -> Settings:
    """Frozen settings for this machine; `asked` are fields of `Settings` with the user's values.

    Raises InputError for a value out of its bounds, and for a base model larger than the machine's memory.
    """
    given = {name: value for name, value in asked.items() if value is not None}
    trials = given.get("trials", DEFAULT_TRIALS)
    trials = trials if isinstance(trials, int) and trials > 0 else 1
    share = Machine.here().share(trials, model.weights_mb if model else 0)
    if is_cluster(str(given.get("launcher", DEFAULT_LAUNCHER))):
        weights_mb = model.weights_mb if model else 0
        share |= {"slots": trials, "memory_limit_mb": max(_CLUSTER_MB, 2 * job_memory_mb(weights_mb))}
    defaults = {
        "task": task,
        "directory": str(directory.absolute()),
        "thread_id": uuid.uuid4().hex,
        "trial_examples": _EXAMPLES[str(given.get("device", share["device"]))],
        "smoke": smoke,
        "checkpoint": checkpoint_kind(),
    }
    plans = asked.get("plans")
    if isinstance(plans, tuple) and plans:  # each of them has a round
        given["rounds"] = given.get("rounds", max(DEFAULT_ROUNDS, len(plans)))
        if isinstance(given["rounds"], int) and given["rounds"] < len(plans):
            raise InputError(f"{len(plans)} plans are given for {given['rounds']} rounds: raise --rounds")
    try:
        return Settings.model_validate(defaults | share | (_SMOKE if smoke else {}) | given)
    except ValidationError as error:
        raise InputError(f"invalid settings: {explain(error)}") from error


def check_settings(settings: Settings) -> None:
    """Raises InputError for a name that is not installed, and for a model that cannot be called: no key."""
    check_checkpoint(settings)
    ENGINES.check(settings.engine)
    launcher_settings(settings.launcher, settings.launcher_settings)
    POLICIES.check(settings.policy)
    RESEARCHERS.check(settings.researcher)
    if settings.track:
        open_tracker(settings.track, settings.path)
    if settings.researcher == "agent" and settings.llm is None:
        raise InputError("the Researcher 'agent' needs a chat model: give --llm PROVIDER:MODEL")
    if settings.llm is not None:
        from ..llm.providers import check_models

        check_models(settings.llm)


def resolve_task(task: str | Path | Task, smoke: bool) -> Task:
    """A task as the user named it. Raises InputError."""
    if isinstance(task, Task):
        check_task(task)
        check_sources(task)
        return task
    return find_task(str(task), smoke)


def settle(
    task: Task, name: str, directory: Path, *, smoke: bool, **asked: object
) -> tuple[Settings, TaskCheck]:
    """Frozen settings of a new run, and what its data hold. Raises InputError, before anything is written."""
    # Options first: a model may have to be fetched.
    options = choose_settings(name, directory, smoke=smoke, model=None, **asked)
    check_settings(options)
    if is_ours(task.metric):
        check_judge(task, options.judging_model)
    model = check_base_model(task)
    settings = choose_settings(name, directory, smoke=smoke, model=model, **asked)
    check = check_data(task)  # which tries a metric that is not ours, before it is loaded here
    check_judge(task, settings.judging_model)
    return settings, check


def check_data(task: Task) -> TaskCheck:
    """What the task's files hold. Raises InputError if a run cannot use them, or the base model."""
    check = check_files(task)
    refuse_unusable(check)
    return check


def default_directory(task: Task) -> Path:
    """A new directory for a run, under ./runs."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    path = Path("runs") / f"{task.name}-{stamp}"
    number = 1
    while path.exists():
        number += 1
        path = Path("runs") / f"{task.name}-{stamp}-{number}"
    return path


def served_settings(state: RunState, config: RunnableConfig) -> Settings:
    """Settings of a run whose server owns the checkpoint: from its form, one run directory a thread.

    Called again after a crash or a cancelled run, it finds what it froze. Raises InputError for a form that
    cannot be, for another form on a thread that has a run, and for a thread whose run has ended.
    """
    try:
        form = _FORM.validate_python(dict(state))
    except ValidationError as error:
        raise InputError(f"this input cannot be: {explain(error)}") from error
    thread = str(config["configurable"]["thread_id"])
    # The end of a thread's id is random, its beginning a clock.
    path = Path("runs") / f"studio-{Path(form['task']).stem}-{thread[-12:]}"
    known = Settings.model_validate(state["settings"]).path if "settings" in state else path
    if "settings" in state or (path / "run.json").exists():
        return _as_frozen(RunDirectory.open(known), form)
    task = find_task(form["task"], form["smoke"])
    asked: dict[str, Any] = {name: form.get(name) for name in _AS_IN_FORM}
    asked |= {"budget_seconds": _budget(form), "llm": _llm(form)}
    name = name_task(form["task"], path)
    asked |= {"thread_id": thread, "checkpoint": "server"}
    settings, check = settle(task, name, path, smoke=form["smoke"], **asked)
    RunDirectory.create(settings, task, check)
    return settings


def refuse_unknown_fields(form: object) -> None:
    """Raises InputError for a field that the form does not have: LangGraph would pass over it."""
    known = RunInput.__annotations__
    if isinstance(form, Mapping) and (unknown := [str(name) for name in form if name not in known]):
        raise InputError(f"invalid input: no field {unknown[0]!r}; the fields are {', '.join(known)}")


def _budget(form: RunInput) -> float | None:
    return parse_duration(form["budget"]) if form["budget"] else None


def _llm(form: RunInput) -> ModelSettings | None:
    """The chat model of a form. Raises InputError for its options without a model."""
    if not form["llm"] and (form["base_url"] or form["llm_budget"] or form["output"] != "auto"):
        raise InputError("base_url, output and llm_budget are a chat model's: give `llm` as provider:model")
    more = [f"base_url={form['base_url']}"] if form["base_url"] else []
    more += [f"output={form['output']}"] if form["output"] != "auto" else []
    return parse_model_settings(form["llm"] or None, budget=form["llm_budget"] or None, more=more)


def _as_frozen(directory: RunDirectory, form: RunInput) -> Settings:
    """The settings of a thread's run, if it goes on and the form asks for nothing else."""
    settings = directory.settings()
    if directory.finish.exists():
        raise InputError(
            f"the run of this thread is done, see {directory.path}: start another in a new thread"
        )
    frozen = settings.model_dump(include={*_AS_IN_FORM, "smoke"})
    changed = [field for field, value in frozen.items() if form.get(field) != value]
    if settings.budget_seconds != _budget(form):
        changed.append("budget")
    if settings.llm != _llm(form):
        changed.append("chat model")
    if settings.task != name_task(form["task"], directory.path):
        changed.append("task")
    if changed:
        raise InputError(
            f"the run of this thread began with another {', '.join(sorted(changed))}, and its settings are frozen: "
            "go on with the same input, or start another in a new thread"
        )
    return settings
