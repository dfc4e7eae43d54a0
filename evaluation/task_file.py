"""A user's own task as a YAML file: the fields of `Task`, with paths relative to the file.

name: tickets
requirement: Route support tickets to the right team.
data: tickets.jsonl            # cut into train pool, dev and test, or give sources, dev and test
prompt:
  user: "Ticket: {text}\\nTeam:"
  answer: "{team}"
choices: [billing, network, accounts]
answer_column: team
"""

from __future__ import annotations

from itertools import chain, count
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..errors import InputError, explain
from ..files import read_yaml
from .data_cut import cut_data
from .grader.metric_trial import check_metric
from .metrics import is_file
from .splits import load_items
from .task import Task


def load_task(path: Path) -> Task:
    """Read a task file. Raises InputError with the file, the field and what to do."""
    if not path.is_file():
        raise InputError(f"{path}: no such task file")
    fields = read_yaml(path)
    if not isinstance(fields, dict):
        raise InputError(f"{path}: a task file is a mapping of fields (name, requirement, prompt, …)")
    folder = path.parent.absolute()
    data, group_by = fields.pop("data", None), fields.pop("group_by", None)
    if isinstance(fields.get("sources"), list):
        fields["sources"] = [_absolute(source, folder, path) for source in fields["sources"]]
    for name in ("dev", "test"):
        if fields.get(name) is not None:
            fields[name] = str(folder / str(fields[name]))
    if "metric" in fields:
        fields["metric"] = _located(fields["metric"], folder)
    if data is not None:
        task = _cut(folder / str(data), fields, group_by, path)
    elif group_by is not None:
        raise InputError(f"{path}: group_by says how `data` is cut, but the file gives no data")
    else:
        task = _validated(fields, path)
    check_task(task)
    return task


def check_task(task: Task) -> None:
    """Refuse a task that cannot work, before anything is written. Raises InputError.

    The test file is only seen to be there: it is the grader's to open.
    """
    for item in load_items(task.dev):
        missing = sorted((task.prompt.fields | {task.answer_column}) - set(item))
        if missing:
            raise InputError(
                f"{task.dev}: no column {missing[0]!r}, which task {task.name!r} names in its prompt or "
                f"answer_column; the rows have: {', '.join(sorted(item))}"
            )
        if task.choices and str(item[task.answer_column]) not in task.choices:
            raise InputError(
                f"{task.dev}: {task.answer_column} is {item[task.answer_column]!r}, "
                f"which is not among choices: {', '.join(task.choices)}"
            )
    for path in (task.test, *(Path(s.path) for s in task.sources if not s.path.startswith("hub:"))):
        if not path.is_file():
            raise InputError(f"task {task.name!r}: {path} does not exist")
        if path.stat().st_size == 0:
            raise InputError(f"task {task.name!r}: {path} is empty")
    check_metric(task)


def _cut(data: Path, fields: dict[str, Any], group_by: str | None, path: Path) -> Task:
    """The task of a file that gives `data`, beside sources, dev and test or in their place."""
    if not data.is_file():
        raise InputError(f"{data}: no such data file")
    if data.suffix != ".jsonl":
        raise InputError(f"{data}: only a .jsonl file can be cut; of others give sources, dev and test")
    sources = fields.get("sources") or []
    taken = {source["name"] for source in sources if "name" in source}
    names = chain(["train", "data"], (f"data_{number}" for number in count(2)))
    pool = next(name for name in names if name not in taken)
    whole = fields | {"sources": [*sources, {"name": pool, "path": str(data)}]}
    whole |= {name: str(data) for name in ("dev", "test") if fields.get(name) is None}
    return cut_data(_validated(whole, path), data, group_by)


def _validated(fields: dict[str, Any], path: Path) -> Task:
    try:
        return Task.model_validate(fields)
    except ValidationError as error:
        raise InputError(f"{path}: {explain(error)}") from error


def _located(metric: Any, folder: Path) -> Any:
    """A metric that is named by its file, with the file's full path."""
    if isinstance(metric, dict) and is_file(str(metric.get("name"))):
        return metric | {"name": str(folder / str(metric["name"]))}
    return str(folder / metric) if isinstance(metric, str) and is_file(metric) else metric


def _absolute(source: Any, folder: Path, path: Path) -> dict[str, Any]:
    if not isinstance(source, dict) or "path" not in source:
        raise InputError(f"{path}: every source needs a name and a path, found {source!r}")
    where = str(source["path"])
    return source | {"path": where if where.startswith("hub:") else str(folder / where)}
