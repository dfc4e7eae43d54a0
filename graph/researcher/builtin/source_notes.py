"""Notes on the sources of a task: each is loaded and described. Of dev only word frequencies are used."""

from __future__ import annotations

import math
import re
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from ....evaluation.rendering_check import check_rendering
from ....evaluation.splits import search_items
from ....evaluation.task import Task
from ....tools.excerpt import cell
from ....training.data import sources
from ....training.data.row_table import RESERVED, as_number
from ..protocol import Distribution, Note, ResearchNotes, SourceNotes
from .recipe_edits import answer_column, example_columns, is_usable

EXAMPLES = 3
BINS = 40
FEW_ANSWERS = 20
WORDS_COMPARED = 20_000
_CELL = 300

Row = dict[str, Any]
T = TypeVar("T")


def look_at_sources(task: Task) -> ResearchNotes:
    """Notes on all sources of the task and on its chat template. Raises InputError for what cannot be read."""
    items = [_text(task, item) for item in search_items(task)]
    described = [_source_notes(task, source.name, items) for source in task.sources]
    rendering = [Note(text=text, source="rendering") for text in check_rendering(task)]
    return ResearchNotes(notes=[*(_note(task, notes) for notes in described), *rendering], sources=described)


def _source_notes(task: Task, name: str, items: Sequence[str]) -> SourceNotes:
    source = task.source(name)
    table = sources.load(task, name)
    columns = [column for column in table.column_names if not column.startswith(RESERVED)]
    rows: list[Row] = table.select_columns(columns).to_list()
    text_column = _text_column(task, columns, rows)
    texts = [row[text_column] for row in rows if row[text_column] is not None] if text_column else []
    identity = example_columns(task, columns)
    return SourceNotes(
        name=name,
        description=source.description,
        licence=source.licence,
        synthetic=source.synthetic,
        rows=len(rows),
        distinct=len({tuple(" ".join(str(row[c]).split()) for c in identity) for row in rows}),
        columns=columns,
        examples=[{key: cell(value, _CELL) for key, value in row.items()} for row in _spaced(rows, EXAMPLES)],
        rating=_distribution(_numbers(rows, task.rating_column)),
        labels=_labels(task, rows, columns),
        words=_distribution([len(str(text).split()) for text in texts]),
        text_column=text_column,
        closeness=closeness([_text(task, row) for row in rows], items),
    )


def _text(task: Task, row: Row) -> str:
    """The values of the row that the question contains."""
    prompt = task.prompt
    if prompt.messages:
        known = not row.keys().isdisjoint(prompt.messages)
        return " ".join(turn["content"] for turn in prompt.turns(row)) if known else ""
    return " ".join(str(row[name]) for name in sorted(prompt.question_fields) if row.get(name) is not None)


def _text_column(task: Task, columns: Sequence[str], rows: Sequence[Row]) -> str | None:
    """The longest text column of the question."""
    lengths = {
        column: statistics.fmean(len(str(row[column])) for row in rows)
        for column in columns
        if column in task.prompt.question_fields and isinstance(rows[0][column], str)
    }
    return max(lengths, key=lambda column: lengths[column], default=None)


def _numbers(rows: Iterable[Row], column: str | None) -> list[float]:
    values = [row.get(column) for row in rows] if column is not None else []
    found = [as_number(value) for value in values]
    return [number for number in found if number is not None and math.isfinite(number)]


def _distribution(values: Sequence[float]) -> Distribution | None:
    if not values:
        return None
    low, high = min(values), max(values)
    counts = [0] * BINS
    for value in values:
        counts[min(BINS - 1, int((value - low) / (high - low) * BINS)) if high > low else 0] += 1
    return Distribution(low=low, high=high, mean=statistics.fmean(values), counts=tuple(counts))


def _labels(task: Task, rows: Sequence[Row], columns: Sequence[str]) -> dict[str, int]:
    column = answer_column(task)
    if column not in columns:
        return {}
    counts = Counter(str(row[column]) for row in rows if row[column] is not None)
    return dict(sorted(counts.items())) if len(counts) <= FEW_ANSWERS else {}


def _spaced(values: Sequence[T], n: int) -> list[T]:
    """At most `n` evenly spaced values: the first rows of a sorted source do not represent it."""
    count = min(n, len(values))
    return [values[i * len(values) // count] for i in range(count)]


def closeness(texts: Sequence[str], others: Sequence[str]) -> float:
    """1 minus the Jensen-Shannon divergence in bits (Lin 1991) between the word frequencies of two text sets.

    Both sets are cut to the same number of words, because the divergence of small samples is larger.
    """
    from scipy.spatial.distance import jensenshannon

    one, other = _words(texts), _words(others)
    size = min(len(one), len(other), WORDS_COMPARED)
    if size == 0:
        return 0.0
    p, q = Counter(_spaced(one, size)), Counter(_spaced(other, size))
    vocabulary = sorted(p.keys() | q.keys())
    distance = float(jensenshannon([p[w] for w in vocabulary], [q[w] for w in vocabulary], base=2))
    return round(min(1.0, max(0.0, 1.0 - distance**2)), 4)


def _words(texts: Iterable[str]) -> list[str]:
    return [word for text in texts for word in re.findall(r"\w+|[^\w\s]", text.casefold())]


def _note(task: Task, notes: SourceNotes) -> Note:
    """A summary of a source in one line."""
    parts = [f"{notes.rows} rows, {notes.distinct} distinct"]
    if notes.words is not None:
        parts.append(f"{notes.words.quantile(0.5):.0f} words in the median, at most {notes.words.high:.0f}")
    if notes.rating is not None:
        rating = notes.rating
        parts.append(f"ratings from {rating.low:g} to {rating.high:g}, {rating.mean:.2f} on average")
    if notes.labels:
        parts.append("answers: " + ", ".join(f"{label} {count}" for label, count in notes.labels.items()))
    parts.append(f"closeness to the search items {notes.closeness:.2f}")
    if notes.synthetic:
        parts.append("synthetic")
    if not is_usable(task, notes):
        missing = ", ".join(sorted(task.prompt.fields - set(notes.columns)))
        parts.append(f"not usable: columns missing: {missing}")
    return Note(text="; ".join(parts), source=notes.name)
