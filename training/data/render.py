"""The last step of every recipe: renders rows as conversations and counts them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field

from ...errors import InputError, PlanError
from ...evaluation.task import Message, Task
from .operators import remedy
from .operators.protocol import Fault
from .row_table import STREAM, arrow, column, visible

if TYPE_CHECKING:
    from datasets import Dataset

Row = dict[str, Any]
_SHOWN_ANSWERS = 20


class Lengths(BaseModel, frozen=True):
    """Words of a row, prompt and answer together."""

    p50: int
    p95: int
    max: int


class Contents(BaseModel, frozen=True):
    """Counts of a rendered data set."""

    rows: int
    streams: dict[str, int] = Field(description="Rows from each source")
    answers: dict[str, int] = Field(description="Rows with each answer, the most frequent 20")
    distinct_answers: int
    words: Lengths
    repeated: int = Field(description="Rows that repeat another row's prompt and answer")


def render(rows: Dataset, task: Task) -> Iterator[Row]:
    """Rows in TRL's conversational prompt/completion format, with their columns and the name of their stream.

    Raises PlanError for rows without a column that the task's prompt needs, and for rows with an empty answer.
    """
    _require_columns(rows, task)
    for batch in arrow(rows).to_batches(max_chunksize=10_000):
        for row in batch.to_pylist():
            source = {name: _plain(row[name]) for name in visible(list(row))}
            yield _conversation(source, row[STREAM], task)


def describe(rows: Sequence[Row]) -> Contents:
    """Count the contents of rendered rows. At least one row is required."""
    answers = Counter(answer(row) for row in rows)
    conversations = [tuple(turn["content"] for turn in [*row["prompt"], *row["completion"]]) for row in rows]
    words = sorted(sum(len(turn.split()) for turn in turns) for turns in conversations)
    return Contents(
        rows=len(rows),
        streams=dict(Counter(row["stream"] for row in rows)),
        answers=dict(sorted(answers.items(), key=lambda pair: (-pair[1], pair[0]))[:_SHOWN_ANSWERS]),
        distinct_answers=len(answers),
        words=Lengths(p50=percentile(words, 50), p95=percentile(words, 95), max=words[-1]),
        repeated=len(rows) - len(set(conversations)),
    )


def answer(row: Row) -> str:
    """The assistant's turn of a rendered row."""
    text: str = row["completion"][-1]["content"]
    return text


def percentile(ascending: Sequence[int], percent: float) -> int:
    """The nearest-rank percentile of sorted values: the smallest that `percent` of them do not exceed."""
    return ascending[max(0, math.ceil(len(ascending) * percent / 100) - 1)]


def _conversation(source: Row, stream: str, task: Task) -> Row:
    try:
        prompt: list[Message] = task.prompt.messages(source)
        reference = task.prompt.reference(source)
    except ValueError as error:
        raise InputError(f"the task's prompt: {error}") from None
    if not reference.strip():
        raise PlanError(
            f"a row of '{stream}' has an empty answer ({task.prompt.answer!r}): "
            f"{remedy('answer empty')}, or fill the column"
        )
    completion = [{"role": "assistant", "content": reference}]
    return {"prompt": prompt, "completion": completion, "source": source, "stream": stream}


def _require_columns(rows: Dataset, task: Task) -> None:
    names = visible(rows.column_names)
    for name in sorted(task.prompt.fields):
        if name not in names:
            advice = _advice(task, name, names, "column missing")
            raise PlanError(f"the prompt needs '{name}', but the rows have: {', '.join(names)}; {advice}")
        values = zip(column(rows, STREAM), column(rows, name), strict=True)
        for stream, number in Counter(stream for stream, value in values if value is None).items():
            raise PlanError(
                f"the prompt needs '{name}', but {number} rows of '{stream}' have none; "
                f"in that stream, {_advice(task, name, names, 'value missing')}"
            )


def _advice(task: Task, name: str, names: Sequence[str], fault: Fault) -> str:
    """How to correct a missing column that the prompt needs. An answer can be made from a rating."""
    if name == task.answer_column and task.rating_column in names:
        return remedy("label missing", column=name, rating=task.rating_column)
    return remedy(fault, column=name)


def _plain(value: Any) -> Any:
    """The value in a form that JSON can represent."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, str | int | float) else str(value)
