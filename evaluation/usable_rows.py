"""Rows that a task can use: what is left out of a user's files, counted by reason, with examples."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field

from ..errors import InputError
from .conversations import BadConversation, Message, TurnFault, answer_text
from .data_files import Line, Row, as_text, line_name, printable
from .task import Task

Reason = (
    Literal[
        "unreadable",
        "no answer",
        "no worse answer",
        "not marked good or bad",
        "no text",
        "answer not among the choices",
        "far longer than the others",
    ]
    | TurnFault
)
EXAMPLES = 2


class Dropped(BaseModel):
    """Rows left out for one reason."""

    reason: Reason
    rows: int
    examples: list[str] = Field(description="The first of them: place and what was found")


class RowCounts:
    """Counts the rows of one file: read, kept, left out by reason."""

    def __init__(self, name: str, path: str | Path = "") -> None:
        self.name = name  # what errors call the file
        self._path = path or name
        self.read = 0
        self._dropped: dict[Reason, Dropped] = {}

    @property
    def dropped(self) -> list[Dropped]:
        """What was left out, the most frequent reason first."""
        return sorted(self._dropped.values(), key=lambda entry: -entry.rows)

    @property
    def kept(self) -> int:
        return self.read - sum(entry.rows for entry in self._dropped.values())

    def place(self, number: int) -> str:
        """What examples call a line of the file."""
        return line_name(self._path, number)

    def drop(self, reason: Reason, example: str) -> None:
        """Count a row that is left out."""
        entry = self._dropped.setdefault(reason, Dropped(reason=reason, rows=0, examples=[]))
        entry.rows += 1
        if len(entry.examples) < EXAMPLES:
            entry.examples.append(example)

    def check(self, most: float) -> None:
        """Raise InputError if no row is left, or if more than the share `most` are left out."""
        if self.read == 0:
            raise InputError(f"{self.name} is empty: it needs at least one row")
        lost = self.read - self.kept
        if lost and (not self.kept or lost > most * self.read):
            raise InputError(
                f"{self.name}: {lost} of {self.read} rows cannot be used: {self.text}; correct them, or raise "
                "rows.max_dropped in the task"
            )

    @property
    def text(self) -> str:
        """The rows left out in one line, with an example of each reason."""
        return "; ".join(f"{d.rows} {d.reason} (e.g. {d.examples[0]})" for d in self.dropped)


def usable(
    lines: Iterable[Line],
    task: Task,
    counts: RowCounts,
    complete: bool = True,
    keep_unanswered: bool = False,
) -> Iterator[Row]:
    """The rows that the task can use; `counts` gets the others.

    With `complete`, a column of the prompt that a row lacks counts as empty. Without, as for sources from whose
    columns a recipe makes others, only the columns that are there are looked at. An answer that differs from a
    choice in case, spaces or the spelling of a number is replaced by the choice.
    """
    for number, read in readable(lines, counts):
        row, fault = judge(read, task, complete, keep_unanswered)
        if fault is None:
            yield row
        else:
            reason, detail = fault
            counts.drop(reason, f"{counts.place(number)}: {detail}")


def readable(lines: Iterable[Line], counts: RowCounts) -> Iterator[tuple[int, Row]]:
    """The rows that can be read, with their line numbers; `counts` gets the others."""
    for line in lines:
        counts.read += 1
        if line.row is None:
            counts.drop("unreadable", f"{counts.place(line.number)}: {line.fault}")
        else:
            yield line.number, line.row


def right_answer(task: Task, row: Mapping[str, Any]) -> str:
    """The answer the prompt makes of a row; one of the choices if it is one of them in another spelling."""
    answer = task.prompt.reference(row)
    return (match_choice(answer, task.choices) or answer) if task.choices else answer


def answered(task: Task, row: Mapping[str, Any]) -> list[Message]:
    """The conversation of a row, with its answer spelled as the choice it means."""
    turns = task.prompt.conversation(row)
    if task.choices:
        turns[-1]["content"] = right_answer(task, row)
    return turns


def match_choice(answer: str, choices: list[str]) -> str | None:
    """The choice that an answer means: the same text, else the only one that is equal but for its spelling."""
    if answer in choices:
        return answer
    wanted = _spellings(answer)
    found = [choice for choice in choices if wanted & _spellings(choice)]
    return found[0] if len(found) == 1 else None


def judge(
    row: Row, task: Task, complete: bool = True, keep_unanswered: bool = False
) -> tuple[Row, tuple[Reason, str] | None]:
    """The row, its answer spelled as the choice it means, and why it cannot be used: the reason and what was found."""
    prompt = task.prompt
    if prompt.messages:
        return _judge_conversation(row, task)
    asked = sorted(prompt.question_fields if complete else prompt.question_fields & row.keys())
    if asked and not any(as_text(row.get(name)).strip() for name in asked):
        return row, ("no question", f"{', '.join(asked)} empty")
    answered = sorted(prompt.answer_fields if complete else prompt.answer_fields & row.keys())
    if answered and len(answered) == len(prompt.answer_fields):
        if empty := [name for name in answered if not as_text(row.get(name)).strip()]:
            return row, None if keep_unanswered else ("no answer", f"{', '.join(empty)} empty")
        if task.choices:
            answer = prompt.reference(row)
            choice = match_choice(answer, task.choices)
            if choice is None:
                return row, ("answer not among the choices", _unknown(answer, tuple(task.choices)))
            if choice != answer and prompt.answer_column:
                row = row | {prompt.answer_column: choice}
    return row, None


def _judge_conversation(row: Row, task: Task) -> tuple[Row, tuple[Reason, str] | None]:
    """As `judge`. The row comes back with its conversation as JSON, in one form whatever the file's was."""
    prompt = task.prompt
    if row.keys().isdisjoint(prompt.messages):
        return row, None  # a source of other columns
    try:
        turns = prompt.model_copy(update={"system": None, "tools": None}).conversation(row)
    except BadConversation as error:
        return row, (error.reason, printable(error.detail))
    if task.choices:
        answer = answer_text(turns[-1])
        choice = match_choice(answer, task.choices)
        if choice is None:
            return row, ("answer not among the choices", _unknown(answer, tuple(task.choices)))
        turns[-1] = turns[-1] | {"content": choice}
    first, *others = prompt.messages
    return row | {first: json.dumps(turns, ensure_ascii=False)} | dict.fromkeys(others, ""), None


@lru_cache(maxsize=1_000)
def _unknown(answer: str, choices: tuple[str, ...]) -> str:
    shown = repr(printable(answer))
    if close := difflib.get_close_matches(answer, choices, n=1, cutoff=0.7):
        return f"{shown}: did you mean {close[0]!r}?"
    return f"{shown} is not among {printable(', '.join(choices), 200)}"


def _spellings(text: str) -> set[str]:
    """Spellings of a text that mean the same: without case and spaces at the ends; whole numbers; truth as 0 or 1."""
    plain = " ".join(text.split()).casefold()
    found = {plain}
    try:
        number = float(plain)
    except ValueError:
        pass
    else:
        if number.is_integer() and abs(number) < 2**53 and "_" not in plain:
            found.add(str(int(number)))
    return found | {"true": {"1"}, "false": {"0"}}.get(plain, set())
