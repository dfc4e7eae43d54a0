"""One file of rows, cut into train pool, dev and test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError
from ..files import canonical_json, fingerprint, write_jsonl
from ..home import home
from .decontamination.normal_form import key
from .group_split import cut_by_group
from .splits import FEWEST_DEV, load_items
from .task import Prompt, SplitItem, Task
from .usable_rows import right_answer

SHARES = {"dev": 0.15, "test": 0.15}
"""Shares of the rows; the rest is the train pool."""


def cut_data(task: Task, data: Path, group_by: str | None = None) -> Task:
    """The task with the parts of `data` as its last source, and as dev and test where `task` names `data` for them.

    Rows with the same question, or with the same value in the column `group_by`, stay together. The shares of answers
    are kept if these are few. Rows that repeat a question of the user's own dev or test, and rows that lack a column of
    the prompt, go to the train pool. Raises InputError for a file that cannot be cut.
    """
    missing = [name for name in SHARES if getattr(task, name) == data]
    if not missing:
        return task
    rows = load_items(data)
    places = _places(task, data, rows, missing, group_by)
    parts = {
        name: [row for row, place in zip(rows, places, strict=True) if place == name]
        for name in ("train", *missing)
    }
    if not all(parts.values()) or len(parts.get("dev", rows)) < FEWEST_DEV:
        groups = "" if group_by is None else f" in groups by {group_by!r}"
        raise InputError(
            f"{data}: {len(rows)} rows{groups} are too few to cut into {', '.join(parts)}; add rows, or give "
            "sources, dev and test"
        )
    ids = {name: [row["id"] for row in part] for name, part in parts.items()}
    folder = home() / "tasks" / f"{task.name}-{fingerprint(ids)}"
    for name, part in parts.items():
        if not (folder / f"{name}.jsonl").exists():
            write_jsonl(folder / f"{name}.jsonl", [dict(row.row) for row in part])
    pool = task.sources[-1].model_copy(
        update={
            "path": str(folder / "train.jsonl"),
            "description": f"{len(parts['train'])} of {len(rows)} rows of {data.name}",
        }
    )
    files = {name: folder / f"{name}.jsonl" for name in missing}
    return task.model_copy(update={"sources": [*task.sources[:-1], pool], **files})


def _places(
    task: Task, data: Path, rows: Sequence[SplitItem], missing: Sequence[str], group_by: str | None
) -> list[str]:
    """The part of each row."""
    own = {
        _question(item, task.prompt)
        for name in SHARES.keys() - set(missing)
        for item in load_items(getattr(task, name), task)
    }
    complete = [all(row.row.get(name) is not None for name in task.prompt.fields) for row in rows]
    if not any(complete):
        raise InputError(
            f"{data}: no row has a value in each column that task {task.name!r} names in its prompt "
            f"({', '.join(sorted(task.prompt.fields))}); the first has: {', '.join(sorted(rows[0].row))}"
        )
    questions = [
        _question(row, task.prompt) if whole else f"row {row['id']}"
        for row, whole in zip(rows, complete, strict=True)
    ]
    answers = [
        right_answer(task, row.row).strip() if whole else ""
        for row, whole in zip(rows, complete, strict=True)
    ]
    keys = [{question} for question in questions]
    if group_by is not None:
        groups = [
            None if row.row.get(group_by) is None else canonical_json(row.row[group_by]) for row in rows
        ]
        if not any(groups):
            raise InputError(f"{data}: no row has a value in the column {group_by!r} that group_by names")
        for row_keys, group in zip(keys, groups, strict=True):
            row_keys |= set() if group is None else {f"group {group}"}
    pinned = {i for i, question in enumerate(questions) if question in own or not answers[i]}
    return cut_by_group(keys, answers, {name: SHARES[name] for name in missing}, "train", pinned)


def _question(row: SplitItem, prompt: Prompt) -> str:
    """The question in the form in which the contamination gate compares whole texts."""
    return "question " + key(" ".join(turn["content"] for turn in prompt.messages(row.row)))
