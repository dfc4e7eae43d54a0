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

from collections.abc import Iterable, Mapping
from itertools import chain, count
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..errors import InputError, explain
from ..files import fingerprint, read_yaml, write_jsonl
from ..home import home
from .data_cut import cut_data
from .data_files import FORMATS, HUB, data_suffix, plain, read_hub_lines
from .decontamination.prompt_repeats import check_prompt
from .grader.metric_trial import check_metric
from .metric_name import located_metric
from .splits import dev_items
from .task import EMBEDDED_MODEL, TINY_MODEL, Task


def load_task(path: Path) -> Task:
    """Read a task file and check its data. Raises InputError with the file, the field and what to do."""
    task = read_task_file(path)
    check_task(task)
    return task


def read_task_file(path: Path) -> Task:
    """Read a task file, without a look at its data, unless that is to be cut. Raises InputError."""
    if not path.is_file():
        raise InputError(f"{path}: no such task file")
    fields = read_yaml(path)
    if not isinstance(fields, dict):
        raise InputError(f"{path}: a task file is a mapping of fields (name, requirement, prompt, …)")
    return task_from_fields(fields, path.parent.absolute(), str(path), path.stem)


def task_from_fields(fields: dict[str, Any], folder: Path, where: str, name: str) -> Task:
    """A task from the fields of its file; `folder` is where relative paths begin, `where` what errors call it."""
    fields = {"name": name} | fields
    data, group_by = fields.pop("data", None), fields.pop("group_by", None)
    if isinstance(fields.get("sources"), list):
        fields["sources"] = [_absolute(source, folder, where) for source in fields["sources"]]
    for part in ("dev", "test"):
        if fields.get(part) is not None:
            fields[part] = _local(_located(fields[part], folder))
    if isinstance(fields.get("base_model"), str):
        fields["base_model"] = _model(fields["base_model"], folder)
    if "metric" in fields:
        fields["metric"] = located_metric(fields["metric"], folder)
    if data is not None:
        return _cut(Path(_local(_located(data, folder))), fields, group_by, where)
    if group_by is not None:
        raise InputError(f"{where}: group_by says how `data` is cut, but the file gives no data")
    return _validated(fields, where)


def check_task(task: Task) -> None:
    """Refuse a task that cannot work, before anything is written. Raises InputError.

    Of the test file is only asked whether the prompt contains its items: it is the grader's to open.
    """
    dev_items(task)
    for path in (task.test, *(Path(s.path) for s in task.sources if not s.path.startswith(HUB))):
        if not path.is_file():
            raise InputError(f"task {task.name!r}: {path} does not exist")
        if path.stat().st_size == 0:
            raise InputError(f"task {task.name!r}: {path} is empty")
        if data_suffix(path) not in FORMATS:
            raise InputError(f"task {task.name!r}: {path.name} is none of {', '.join(FORMATS)}")
    check_prompt(task)
    check_metric(task)


def _cut(data: Path, fields: dict[str, Any], group_by: str | None, where: str) -> Task:
    """The task of a file that gives `data`, beside sources, dev and test or in their place."""
    if not data.is_file():
        raise InputError(f"{data}: no such data file")
    sources = fields.get("sources") or []
    taken = {source["name"] for source in sources if "name" in source}
    names = chain(["train", "data"], (f"data_{number}" for number in count(2)))
    pool = next(name for name in names if name not in taken)
    whole = fields | {"sources": [*sources, {"name": pool, "path": str(data)}]}
    whole |= {name: str(data) for name in ("dev", "test") if fields.get(name) is None}
    return cut_data(_validated(whole, where), data, group_by)


def _validated(fields: dict[str, Any], where: str) -> Task:
    try:
        return Task.model_validate(fields)
    except ValidationError as error:
        raise InputError(f"{where}: {explain(error)}") from error


def _located(path: Any, folder: Path) -> str:
    """A path of a task file as a full path; a reference to the hub as it is."""
    text = str(path)
    return text if text.startswith(HUB) else str(folder / Path(text).expanduser())


def _local(path: str) -> str:
    """A path, or the local copy of a split on the hub. Raises InputError if it cannot be fetched."""
    if not path.startswith(HUB):
        return path
    return str(write_rows(line.row for line in read_hub_lines(path) if line.row is not None))


def write_rows(rows: Iterable[Mapping[str, Any]]) -> Path:
    """Keep rows in TREX_HOME, in a file named by their content."""
    kept = [plain(row) for row in rows]
    path = home() / "data" / f"{fingerprint(kept)}.jsonl"
    if not path.exists():
        write_jsonl(path, kept)
    return path


def _model(name: str, folder: Path) -> str:
    """A base model's name; one that is a folder beside the task file or begins with ~ as a full path."""
    if name in (TINY_MODEL, EMBEDDED_MODEL):
        return name
    beside = folder / Path(name).expanduser()
    return str(beside) if beside.is_dir() else name


def _absolute(source: Any, folder: Path, where: str) -> dict[str, Any]:
    if not isinstance(source, dict) or "path" not in source:
        raise InputError(f"{where}: every source needs a name and a path, found {source!r}")
    return source | {"path": _located(source["path"], folder)}
