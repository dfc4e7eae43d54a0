"""A user's own task as a YAML file: the fields of `Task`, with paths relative to the file.

name: tickets
requirement: Route support tickets to the right team.
data: tickets.jsonl            # cut into train pool, dev and test by content, or give sources, dev and test
prompt:
  user: "Ticket: {text}\\nTeam:"
  answer: "{team}"
choices: [billing, network, accounts]
answer_column: team
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..errors import InputError, explain
from ..files import fingerprint, hash_file, read_jsonl, read_yaml, write_jsonl
from ..home import home
from .grader.metric_trial import check_metric
from .metrics import is_file
from .splits import load_items, split_by_hash
from .task import Item, Task

_SHARES = {"train": 0.7, "dev": 0.15, "test": 0.15}


def load_task(path: Path) -> Task:
    """Read a task file. Raises InputError with the file, the field and what to do."""
    if not path.is_file():
        raise InputError(f"{path}: no such task file")
    fields = read_yaml(path)
    if not isinstance(fields, dict):
        raise InputError(f"{path}: a task file is a mapping of fields (name, requirement, prompt, …)")
    folder = path.parent.absolute()
    if "data" in fields:
        fields |= _split(folder / str(fields.pop("data")), str(fields.get("name", path.stem)))
    if isinstance(fields.get("sources"), list):
        fields["sources"] = [_absolute(source, folder, path) for source in fields["sources"]]
    for name in ("dev", "test"):
        if name in fields:
            fields[name] = str(folder / str(fields[name]))
    if "metric" in fields:
        fields["metric"] = _located(fields["metric"], folder)
    try:
        task = Task.model_validate(fields)
    except ValidationError as error:
        raise InputError(f"{path}: {explain(error)}") from error
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


def _split(data: Path, name: str) -> dict[str, Any]:
    """Cut one file of rows into a train pool, dev and test, by the hash of their content."""
    if not data.is_file():
        raise InputError(f"{data}: no such data file")
    if data.suffix != ".jsonl":
        raise InputError(f"{data}: only a .jsonl file can be cut; of others give sources, dev and test")
    rows: list[Item] = load_items(data)
    folder = home() / "tasks" / f"{name}-{fingerprint([hash_file(data), _SHARES])}"
    for part, items in split_by_hash(rows, _SHARES).items():
        if not items:
            raise InputError(f"{data}: {len(rows)} rows are too few to cut into train, dev and test")
        file = folder / f"{part}.jsonl"
        if not file.exists() or sum(1 for _ in read_jsonl(file)) != len(items):
            write_jsonl(file, items)
    return {
        "sources": [
            {"name": "train", "path": str(folder / "train.jsonl"), "description": f"70 % of {data.name}"}
        ],
        "dev": str(folder / "dev.jsonl"),
        "test": str(folder / "test.jsonl"),
    }


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
