"""Items, and dev cut into search and confirm, by content: the same rows give the same parts, in any order of lines.

An item's id is the hash of its content. Each cut hashes the id with a word of its own, so that rows already
chosen by one cut are spread evenly by the next.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import canonical_json
from .task import Item, Prompt, Task

ID_LENGTH = 16
FEWEST_DEV = 2
"""One item to search on, one to confirm."""


def content_id(row: Mapping[str, Any]) -> str:
    """16 hex digits of the SHA-256 of the row without its 'id', in canonical JSON."""
    content = {key: value for key, value in row.items() if key != "id"}
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()[:ID_LENGTH]


@lru_cache(maxsize=65_536)  # every round cuts dev again
def position(row_id: str, cut: str) -> float:
    """Where a row stands in [0, 1) for the cut of that name: a hash, independent between names."""
    digest = hashlib.sha256(f"{cut}\0{row_id}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def load_items(path: Path, prompt: Prompt | None = None, answer_column: str | None = None) -> list[Item]:
    """The items of a JSON-lines file, in the order of their ids; 'id' is the content's hash.

    With a prompt, each item also carries 'reference', the answer expected. Lines with the same content are
    one item. Raises InputError, naming file and line, for a file that is missing, empty or malformed, and for
    rows that lack a column the prompt or the answer needs.
    """
    try:
        known = path.stat()
    except OSError as error:
        raise InputError(f"{path} can't be read ({error.strerror}); check the task's dev and test") from error
    return [dict(item) for item in _load(path, (known.st_mtime_ns, known.st_size), prompt, answer_column)]


@lru_cache(maxsize=8)  # every round reads dev again; `stamp` tells when the file changed
def _load(path: Path, stamp: tuple[int, int], prompt: Prompt | None, answer_column: str | None) -> list[Item]:
    needed = (prompt.fields if prompt else set()) | ({answer_column} if answer_column else set())
    found: dict[str, Item] = {}
    for number, row in _read_lines(path):
        missing = sorted(needed - row.keys())
        if missing:
            raise InputError(
                f"{path}:{number}: column {', '.join(map(repr, missing))} is missing (the line has "
                f"{', '.join(sorted(row)) or 'none'}); add it, or change the task's prompt or answer_column"
            )
        try:
            item = {**row, "id": content_id(row)}
            if prompt is not None:
                item["reference"] = prompt.reference(row)
                if row.get("reference", item["reference"]) != item["reference"]:
                    raise ValueError("the column 'reference' must hold the prompt's answer: rename it")
            found[item["id"]] = item
        except ValueError as error:
            raise InputError(f"{path}:{number}: {error}; correct the line or the prompt") from error
    if not found:
        raise InputError(f"{path} is empty: write at least one JSON object a line")
    return [found[row_id] for row_id in sorted(found)]


def dev_items(task: Task) -> list[Item]:
    """All of dev: search and confirm."""
    return load_items(task.dev, task.prompt, task.answer_column)


def search_items(task: Task) -> list[Item]:
    """The part of dev that the search sees: a share of about `search_fraction`, cut by hash, and never empty."""
    return _part(task, "search")


def confirm_items(task: Task) -> list[Item]:
    """The part of dev on which finalists are confirmed: what `search_items` leaves."""
    return _part(task, "confirm")


def _part(task: Task, name: str) -> list[Item]:
    items = sorted(dev_items(task), key=lambda item: position(item["id"], "dev"))
    if len(items) < FEWEST_DEV:
        raise InputError(
            f"{task.dev}: dev has one item and is cut into two parts, 'search' and 'confirm'; add items"
        )
    below = sum(position(item["id"], "dev") < task.search_fraction for item in items)
    middle = min(max(below, 1), len(items) - 1)
    return sorted(items[:middle] if name == "search" else items[middle:], key=lambda item: str(item["id"]))


def _read_lines(path: Path) -> Iterable[tuple[int, dict[str, Any]]]:
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise InputError(f"{path} can't be read ({error.strerror}); check the task's dev and test") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text ({error.reason}); save it as UTF-8") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{path}:{number}: not JSON ({error.msg}); write one object a line") from error
        if not isinstance(row, dict):
            raise InputError(f"{path}:{number}: a JSON object is needed, found {type(row).__name__}")
        yield number, row
