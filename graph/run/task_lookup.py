"""Finding tasks: by name among installed ones (entry points `trex.tasks`), or by path among a user's files."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import cast

from ...errors import InputError
from ...evaluation.task import TINY_MODEL, Task
from ...evaluation.task_file import check_task, load_task, read_task_file
from ...training.data.sources import check_sources

GROUP = "trex.tasks"
_FILES = (".yaml", ".yml")


def installed_tasks() -> dict[str, EntryPoint]:
    """The tasks that this installation knows, by name."""
    return {entry.name: entry for entry in sorted(entry_points(group=GROUP), key=lambda e: e.name)}


def find_task(name: str, smoke: bool = False) -> Task:
    """The task of that name or in that file. Raises InputError with the names there are.

    With `smoke`, on a tiny model; an installed task then uses its own small sample of data.
    """
    if is_file(name):
        task = load_task(Path(name))
        check_sources(task)
        return task.model_copy(update={"base_model": TINY_MODEL}) if smoke else task
    entries = installed_tasks()
    if name not in entries:
        known = ", ".join(entries) or "none"
        raise InputError(
            f"no task named {name!r}: installed are {known}; or give the path of a task file (.yaml)"
        )
    load = cast(Callable[[bool], Task], entries[name].load())
    task = load(smoke)
    check_task(task)
    return task


def read_task(name: str, smoke: bool = False) -> Task:
    """As `find_task`, but the rows of a user's files are not looked at yet."""
    if not is_file(name):
        return find_task(name, smoke)
    task = read_task_file(Path(name))
    return task.model_copy(update={"base_model": TINY_MODEL}) if smoke else task


def is_file(name: str) -> bool:
    """Whether a task is named by the path of its file."""
    return name.endswith(_FILES) or "/" in name
