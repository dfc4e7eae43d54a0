"""Items, and dev cut into search and confirm, by content: the same rows give the same parts, in any order of lines.

An item's id is the hash of its content. Each cut hashes the id with a word of its own, so that rows already
chosen by one cut are spread evenly by the next.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import canonical_json
from .data_files import file_name, printable, read_lines
from .task import RowRules, SplitItem, Task
from .usable_rows import RowCounts, readable, right_answer, usable

ID_LENGTH = 16
FEWEST_DEV = 2
"""One item to search on, one to confirm."""


def content_id(row: Mapping[str, Any], own: Collection[str] = ()) -> str:
    """16 hex digits of the SHA-256 of the row in canonical JSON, without its 'id' unless that is in `own`."""
    content = {key: value for key, value in row.items() if key != "id" or key in own}
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()[:ID_LENGTH]


@lru_cache(maxsize=65_536)  # every round cuts dev again
def position(row_id: str, cut: str) -> float:
    """Where a row stands in [0, 1) for the cut of that name: a hash, independent between names."""
    digest = hashlib.sha256(f"{cut}\0{row_id}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def load_items(path: Path, task: Task | None = None) -> list[SplitItem]:
    """The items of a data file, in the order of their ids; 'id' is the content's hash.

    With a task, each item also carries 'reference', the answer expected, and rows that the task cannot use are left
    out. Lines with the same content are one item. Raises InputError for a file that is
    missing, empty or malformed, for rows that lack a column of the prompt, and if too many rows are left out.
    """
    return list(_load(path, _state(path), task and task.model_dump_json()))


def _state(path: Path) -> tuple[int, int]:
    try:
        known = path.stat()
    except OSError as error:
        raise InputError(f"{path} can't be read ({error.strerror}); check the task's dev and test") from error
    return known.st_mtime_ns, known.st_size


@lru_cache(maxsize=8)  # every round reads dev again; `state` tells when the file changed
def _load(path: Path, state: tuple[int, int], task_json: str | None) -> list[SplitItem]:
    counts = RowCounts(file_name(path), path)
    if task_json is None:
        items = [_item(row) for _, row in readable(read_lines(path), counts)]
        counts.check(RowRules().max_dropped)
        return _distinct(items)
    task = Task.model_validate_json(task_json)
    _require_columns(path, task)
    keep = task.rows.unanswered == "keep"
    rows = list(usable(read_lines(path), task, counts, keep_unanswered=keep))
    counts.check(task.rows.max_dropped)
    return _distinct([_item(row, task) for row in rows])


def _item(row: Mapping[str, Any], task: Task | None = None) -> SplitItem:
    item = SplitItem(row, id=content_id(row, task.prompt.fields if task else ()))
    if task is not None:
        item["reference"] = right_answer(task, row)
    return item


def _distinct(items: Iterable[SplitItem]) -> list[SplitItem]:
    found = {item["id"]: item for item in items}
    return [found[item_id] for item_id in sorted(found)]


def _require_columns(path: Path, task: Task) -> None:
    """Raise InputError for columns of the prompt that no row has. A single row may lack one: it counts as empty."""
    answers = set() if task.prompt.messages else {task.answer_column}
    needed, seen = task.prompt.fields | answers, dict[str, None]()
    for line in read_lines(path):
        seen |= dict.fromkeys(line.row or ())
        if needed <= seen.keys():
            return
    absent = sorted(needed - seen.keys())
    missing = ", ".join(map(repr, absent))
    if seen:
        raise InputError(
            f"{file_name(path)}: no column {missing}, which task {task.name!r} names in its prompt or answer_column; "
            f"the rows have: {', '.join(sorted(map(printable, seen)))} (literal braces are written {{{{{absent[0]}}}}})"
        )


def dev_items(task: Task) -> list[SplitItem]:
    """All of dev: search and confirm."""
    return load_items(task.dev, task)


def search_items(task: Task) -> list[SplitItem]:
    """The part of dev that the search sees: a share of about `search_fraction`, cut by hash, and never empty."""
    return _part(task, "search")


def confirm_items(task: Task) -> list[SplitItem]:
    """The part of dev on which finalists are confirmed: what `search_items` leaves."""
    return _part(task, "confirm")


def _part(task: Task, name: str) -> list[SplitItem]:
    items = sorted(dev_items(task), key=lambda item: position(item["id"], "dev"))
    if len(items) < FEWEST_DEV:
        raise InputError(
            f"{file_name(task.dev)}: dev has one item and is cut into two parts, 'search' and 'confirm'; add items"
        )
    below = sum(position(item["id"], "dev") < task.search_fraction for item in items)
    middle = min(max(below, 1), len(items) - 1)
    return sorted(items[:middle] if name == "search" else items[middle:], key=lambda item: str(item["id"]))
