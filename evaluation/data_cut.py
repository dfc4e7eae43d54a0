"""One file of rows, cut into train pool, dev and test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import fingerprint, write_jsonl
from ..home import home
from .data_files import Row, as_text, keep_origin, printable, read_lines
from .decontamination.normal_form import key
from .group_split import cut_by_group
from .splits import FEWEST_DEV, content_id, load_items
from .task import Task
from .usable_rows import RowCounts, judge, readable, right_answer

SHARES = {"dev": 0.15, "test": 0.15}
"""Shares of the rows; the rest is the train pool."""


def cut_data(task: Task, data: Path, group_by: str | None = None) -> Task:
    """The task with the parts of `data` as its last source, and as dev and test where `task` names `data` for them.

    Rows with the same question, or with the same value in the column `group_by`, stay together. The shares of answers
    are kept if these are few. Rows that repeat a question of the user's own dev or test, and rows that the task
    cannot use, go to the train pool. Raises InputError for a file that cannot be cut.
    """
    missing = [name for name in SHARES if getattr(task, name) == data]
    if not missing:
        return task
    counts = RowCounts(str(data), data)
    lines = readable(read_lines(data), counts)
    found = [(content_id(row, task.prompt.fields), number, row) for number, row in lines]
    counts.check(task.rows.max_dropped)
    found.sort(key=lambda entry: entry[0])
    rows = [row for *_, row in found]
    places = _places(task, data, rows, missing, group_by)
    parts = {
        name: [entry for entry, place in zip(found, places, strict=True) if place == name]
        for name in ("train", *missing)
    }
    if not all(parts.values()) or len(parts.get("dev", rows)) < FEWEST_DEV:
        groups = "" if group_by is None else f" in groups by {group_by!r}"
        raise InputError(
            f"{data}: {len(rows)} rows{groups} are too few to cut into {', '.join(parts)}; add rows, or give "
            "sources, dev and test"
        )
    folder = home() / "tasks"
    folder /= (
        f"{task.name}-{fingerprint({name: [row_id for row_id, *_ in part] for name, part in parts.items()})}"
    )
    for name, part in parts.items():
        path = folder / f"{name}.jsonl"
        if not path.exists():
            write_jsonl(path, [row for *_, row in part])
        keep_origin(path, data, [number for _, number, _ in part])
    description = f"{len(parts['train'])} of {counts.read} rows of {data.name}"
    if counts.dropped:
        description += f"; left out: {counts.text}"
    pool = {"path": str(folder / "train.jsonl"), "description": description}
    return task.model_copy(
        update={
            "sources": [*task.sources[:-1], task.sources[-1].model_copy(update=pool)],
            **{name: folder / f"{name}.jsonl" for name in missing},
        }
    )


def _places(
    task: Task, data: Path, rows: Sequence[Row], missing: Sequence[str], group_by: str | None
) -> list[str]:
    """The part of each row."""
    given = (load_items(getattr(task, name), task) for name in SHARES if name not in missing)
    own = {_question(item.row, task) for items in given for item in items}
    judged = [judge(row, task) for row in rows]
    unusable = [i for i, (_, fault) in enumerate(judged) if fault is not None]
    if len(unusable) == len(rows):
        assert judged[0][1] is not None
        raise InputError(
            f"{data}: no row can be used; the first: {': '.join(judged[0][1])}; "
            f"it has the columns {printable(', '.join(rows[0]), 200)}"
        )
    keys = [
        {_question(row, task)} if fault is None else set[str]()
        for row, (_, fault) in zip(rows, judged, strict=True)
    ]
    pinned = {*unusable, *(i for i, question in enumerate(keys) if question & own)}
    if group_by is not None:
        groups = [as_text(row.get(group_by)) for row in rows]
        if not any(groups):
            raise InputError(f"{data}: no row has a value in the column {group_by!r} that group_by names")
        for row_keys, group in zip(keys, groups, strict=True):
            row_keys |= {f"group {group}"} if group else set()
    for i in unusable:  # they hold nothing together
        keys[i] = {f"row {i}"}
    answers = [
        right_answer(task, row) if fault is None or not task.prompt.messages else ""
        for row, (_, fault) in zip(rows, judged, strict=True)
    ]
    return cut_by_group(keys, answers, {name: SHARES[name] for name in missing}, "train", pinned)


def _question(row: Mapping[str, Any], task: Task) -> str:
    """The question in the form in which the contamination gate compares whole texts."""
    return "question " + key(" ".join(turn["content"] for turn in task.prompt.turns(row)))
