"""The last step of every recipe: renders rows as conversations and counts them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import BaseModel, Field

from ...errors import PlanError
from ...evaluation.task import Task
from ...evaluation.usable_rows import Dropped, RowCounts
from .operators import remedy
from .operators.protocol import Fault
from .row_kinds import Row, RowKind, made_rows, require_columns
from .row_lineage import STEPS
from .row_table import DESIRABLE, KEY, REJECTED, STREAM, SYNTHETIC, arrow, visible

if TYPE_CHECKING:
    from datasets import Dataset

_SHOWN_ANSWERS = 20
_NEVER_AN_OUTLIER = 2_000  # characters: rows of about 500 tokens cost little


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
    synthetic: int = Field(default=0, description="Rows that a step of the recipe made")
    pairs: int = Field(default=0, description="Rows that also have a worse answer")
    good: int = Field(default=0, description="Rows whose answer is marked as good")
    bad: int = Field(default=0, description="Rows whose answer is marked as bad")
    texts: int = Field(default=0, description="Rows of plain text")


@dataclass(frozen=True)
class Rendered:
    """Rendered rows, and the rows that were left out."""

    rows: list[Row]
    dropped: list[Dropped]
    origins: list[tuple[str, list[int]]]
    """Of each row, the hash of its source row and the numbers of the steps that changed it."""


def render(rows: Dataset, task: Task, kind: RowKind = "answers") -> Rendered:
    """Rows in TRL's conversational prompt/completion format, with their columns and the name of their stream.

    Rows without a question or an answer, with an answer that is none of the choices, or far longer than the others
    are left out, and rows without what `kind` needs. Raises PlanError for a column that is missing and if too many
    rows are left out.
    """
    if kind != "text":
        _require_columns(rows, task)
    require_columns(kind, rows.column_names)
    counts, rendered = RowCounts("the data set"), list[Row]()
    origins: list[tuple[str, list[int]]] = []
    for batch in arrow(rows).to_batches(max_chunksize=10_000):
        for row in batch.to_pylist():
            counts.read += 1
            origin = (row[KEY].partition("/")[0], [int(n) for n in (row.get(STEPS) or "").split()])
            for made in made_rows(row, row[STREAM], task, kind):
                if isinstance(made, tuple):
                    counts.drop(made[0], f"{row[STREAM]}: {made[1]}")
                    continue
                rendered.append(made | ({"synthetic": True} if row.get(SYNTHETIC) else {}))
                origins.append(origin)
    kept = _without_outliers(rendered, task.rows.longest, counts)
    if counts.kept < counts.read * (1 - task.rows.max_dropped):
        raise PlanError(
            f"{counts.read - counts.kept} of {counts.read} rows cannot be used: {counts.text}; {_mend(task, counts)}"
        )
    return Rendered([rendered[i] for i in kept], counts.dropped, [origins[i] for i in kept])


def _without_outliers(rows: list[Row], times: float, counts: RowCounts) -> list[int]:
    """The places of the rows without those whose characters are more than `times` the 99.5th percentile of the lengths.

    The percentile never counts the longest row, so that few rows are enough.
    """
    lengths = [sum(len(turn["content"]) for turn in [*row["prompt"], *row["completion"]]) for row in rows]
    usual = sorted(lengths)[: min(len(rows) - 1, math.ceil(len(rows) * 0.995))][-1:]
    limit = max(_NEVER_AN_OUTLIER, times * usual[0]) if usual else math.inf
    for row, length in zip(rows, lengths, strict=True):
        if length > limit:
            counts.drop("far longer than the others", f"{row['stream']}: {length} characters")
    return [place for place, length in enumerate(lengths) if length <= limit]


def _mend(task: Task, counts: RowCounts) -> str:
    """How to correct the most frequent fault."""
    match counts.dropped[0].reason:
        case "no answer" if task.rating_column:
            return remedy("label missing", column=task.answer_column, rating=task.rating_column)
        case "no answer":
            return f"{remedy('answer empty')}, or fill the column"
        case "no question":
            return remedy("value missing", column=min(task.prompt.question_fields))
    return "correct the steps that make the answer, or raise rows.max_dropped in the task"


def describe(rows: Sequence[Row]) -> Contents:
    """Count the contents of rendered rows. At least one row is required."""
    answers = Counter(answer(row) for row in rows if row["prompt"])
    texts = {answer(row) for row in rows if not row["prompt"]}
    conversations = [tuple(turn["content"] for turn in [*row["prompt"], *row["completion"]]) for row in rows]
    words = sorted(sum(len(turn.split()) for turn in turns) for turns in conversations)
    return Contents(
        rows=len(rows),
        streams=dict(Counter(row["stream"] for row in rows)),
        answers=dict(sorted(answers.items(), key=lambda pair: (-pair[1], pair[0]))[:_SHOWN_ANSWERS]),
        distinct_answers=len(answers) + len(texts),
        words=Lengths(p50=percentile(words, 50), p95=percentile(words, 95), max=words[-1]),
        repeated=len(rows) - len(set(conversations)),
        synthetic=sum(row.get("synthetic", False) for row in rows),
        pairs=sum(REJECTED in row for row in rows),
        good=sum(row.get(DESIRABLE) is True for row in rows),
        bad=sum(row.get(DESIRABLE) is False for row in rows),
        texts=sum(not row["prompt"] for row in rows),
    )


def answer(row: Row) -> str:
    """The assistant's turn of a rendered row."""
    text: str = row["completion"][-1]["content"]
    return text


def percentile(ascending: Sequence[int], percent: float) -> int:
    """The nearest-rank percentile of sorted values: the smallest that `percent` of them do not exceed."""
    return ascending[max(0, math.ceil(len(ascending) * percent / 100) - 1)]


def _require_columns(rows: Dataset, task: Task) -> None:
    names = visible(rows.column_names)
    for name in sorted(task.prompt.fields):
        if name not in names:
            advice = _advice(task, name, names, "column missing")
            raise PlanError(f"the prompt needs '{name}', but the rows have: {', '.join(names)}; {advice}")


def _advice(task: Task, name: str, names: Sequence[str], fault: Fault) -> str:
    """How to correct a missing column that the prompt needs. An answer can be made from a rating."""
    if name == task.answer_column and task.rating_column in names:
        return remedy("label missing", column=name, rating=task.rating_column)
    return remedy(fault, column=name)
