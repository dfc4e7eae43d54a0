"""Starting a run: from what a person asked for to frozen settings in a run directory."""

from __future__ import annotations

import time
import uuid
from pathlib import Path

from langchain_core.runnables import RunnableConfig
from pydantic import ValidationError

from ..errors import InputError, explain
from ..evaluation.task import Task
from ..evaluation.task_file import check_task
from .directory import RunDirectory
from .settings import Machine, Settings
from .state import RunState
from .tasks import find_task

DEFAULT_ROUNDS = 2
DEFAULT_TRIALS = 4
# What one trial may train on: on a CPU minutes, on a GPU what the paper allows an experiment.
_EXAMPLES = {"cpu": 1536, "cuda": 50_000}
_SMOKE = {"trial_examples": 48, "rung_items": 12, "finalists": 1}


def choose_settings(task: Task, directory: Path, *, smoke: bool = False, **asked: object) -> Settings:
    """Frozen settings for this machine; `asked` are fields of `Settings` with the user's values.

    Raises InputError for a value out of its bounds.
    """
    given = {name: value for name, value in asked.items() if value is not None}
    trials = given.get("trials", DEFAULT_TRIALS)
    share = Machine.here().share(trials if isinstance(trials, int) and trials > 0 else 1)
    defaults = {
        "task": task.name,
        "directory": str(directory.absolute()),
        "thread_id": uuid.uuid4().hex,
        "rounds": DEFAULT_ROUNDS,
        "trials": DEFAULT_TRIALS,
        "trial_examples": _EXAMPLES[str(share["device"])],
        "smoke": smoke,
    }
    try:
        return Settings.model_validate(defaults | share | (_SMOKE if smoke else {}) | given)
    except ValidationError as error:
        raise InputError(f"these settings cannot be: {explain(error)}") from error


def resolve_task(task: str | Path | Task, smoke: bool) -> Task:
    """A task as the user named it. Raises InputError."""
    if isinstance(task, Task):
        check_task(task)
        return task
    return find_task(str(task), smoke)


def default_directory(task: Task) -> Path:
    """A fresh place for a run, under ./runs."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    path = Path("runs") / f"{task.name}-{stamp}"
    number = 1
    while path.exists():
        number += 1
        path = Path("runs") / f"{task.name}-{stamp}-{number}"
    return path


def served_settings(state: RunState, config: RunnableConfig) -> Settings:
    """Settings of a run whose server owns the checkpoint: from its form, one run directory a thread.

    Called again after a crash, it finds the directory it made.
    """
    thread = str(config.get("configurable", {}).get("thread_id") or uuid.uuid4())
    name = state.get("task") or "sentiment"
    smoke = bool(state.get("smoke", False))
    path = Path("runs") / f"studio-{Path(name).stem}-{thread[:8]}"
    if (path / "run.json").exists():
        return RunDirectory.open(path).settings()
    task = find_task(name, smoke)
    settings = choose_settings(
        task,
        path,
        smoke=smoke,
        rounds=state.get("rounds"),
        trials=state.get("trials"),
        approve=state.get("approve"),
        thread_id=thread,
        checkpoint="server",
    )
    RunDirectory.create(settings, task)
    return settings
