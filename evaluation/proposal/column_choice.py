"""Which column is the answer, and which are the question."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ...errors import InputError
from .column_profiles import ColumnProfile, Table

_ANSWER = re.compile(
    r"(.*[_\W])?(label|labels|answer|answers|output|target|class|category|response|completion|summary|highlights|"
    r"translation|solution|sentiment|intent|topic|team|queue|department|gold|ground_truth|verdict|tag|tags|y)"
    r"([_\W]?(name|text))?",
    re.IGNORECASE,
)
_QUESTION = re.compile(
    r"(.*[_\W])?(text|question|input|inputs|prompt|instruction|sentence|review|body|message|content|document|article|"
    r"title|subject|description|query|context|passage|premise|hypothesis|ticket|comment|dialogue|source)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class AnswerColumn:
    """The column of the answer, and why."""

    column: str
    reason: str


@dataclass(frozen=True)
class QuestionColumns:
    """The columns that the prompt shows, and why."""

    columns: list[str]
    reason: str


def choose_answer(table: Table, wanted: str | None, questions: Sequence[str]) -> AnswerColumn:
    """The answer's column: by its name, whether it is a label, and its place. Raises InputError if none fits."""
    if wanted is not None:
        return AnswerColumn(_known(table, wanted), f"{wanted} is the answer, as you said")
    scores = {
        column.name: _answer_score(column, last=column is list(table.columns.values())[-1])
        for column in table.columns.values()
        if column.name not in questions and _can_be_used(column)
    }
    best = max(scores, key=lambda name: scores[name], default=None)
    if best is None or scores[best] < 1:
        raise InputError(
            f"no column looks like an answer: say which is, with --answer; there are {_names(table)}"
        )
    others = [name for name, score in scores.items() if name != best and score >= 2]
    why = "its name" if _ANSWER.fullmatch(best) else "its few values"
    also = f" (could also be {', '.join(others)})" if others else ""
    return AnswerColumn(best, f"{best} is the answer, by {why}{also}")


def choose_questions(table: Table, answer: str, wanted: Sequence[str]) -> QuestionColumns:
    """The columns of the question: texts, else all that do not tell the answer. Raises InputError if there is none."""
    if wanted:
        return QuestionColumns(
            [_known(table, name) for name in wanted], f"{' and '.join(wanted)} as you said"
        )
    left = [
        column
        for column in table.columns.values()
        if column.name != answer and _can_be_used(column) and not table.tells(column.name, answer)
    ]
    texts = [column.name for column in left if _is_text(column)]
    if texts:
        return QuestionColumns(
            texts, f"{' and '.join(texts)} {'is the text' if len(texts) == 1 else 'are texts'}"
        )
    if left:
        return QuestionColumns(
            [column.name for column in left], "no column is a text, so all others are shown"
        )
    raise InputError(
        f"no column can be the question: say which are, with --question; there are {_names(table)}"
    )


def explain_unused(table: Table, answer: str, questions: Sequence[str]) -> Iterator[str]:
    """Why the prompt does not show the other columns."""
    for column in table.columns.values():
        if column.name in (answer, *questions):
            continue
        if not column.filled:
            why = "is empty"
        elif "{" in column.name or "}" in column.name:
            why = "has a brace in its name, which a prompt cannot take"
        elif column.is_identifier:
            why = "is an identifier"
        elif column.is_date:
            why = "is a date"
        elif table.tells(column.name, answer):
            why = f"tells the {answer}: a prompt with it would show the answer"
        else:
            why = "is no text"
        yield f"column {column.name} is not in the prompt: it {why}"


def _can_be_used(column: ColumnProfile) -> bool:
    plain = bool(column.filled) and not column.is_identifier and not column.is_date
    return plain and not {"{", "}", ":", "!"} & set(column.name)


def _is_text(column: ColumnProfile) -> bool:
    if column.is_number:
        return False
    named = bool(_QUESTION.fullmatch(column.name))
    return column.words >= 4 or (named and (column.classes is None or column.words >= 2))


def _answer_score(column: ColumnProfile, last: bool) -> float:
    score = 3.0 * bool(_ANSWER.fullmatch(column.name)) - 3.0 * bool(_QUESTION.fullmatch(column.name))
    return score + 2.0 * (column.classes is not None) + 0.5 * last


def _known(table: Table, name: str) -> str:
    if name not in table.columns:
        raise InputError(f"there is no column {name!r}: there are {_names(table)}")
    return name


def _names(table: Table) -> str:
    return ", ".join(table.columns)
