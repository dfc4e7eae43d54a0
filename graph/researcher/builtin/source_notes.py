"""Looking at the data a task allows: every source is loaded and described; dev is only counted words of."""

from __future__ import annotations

import math
import re
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from ....evaluation.splits import search_items
from ....evaluation.task import Task
from ....training.data import sources
from ....training.data.row_table import RESERVED
from ..protocol import Distribution, Note, ResearchNotes, SourceNotes
from .recipe_edits import answer_column, example_columns, is_usable

EXAMPLES = 3
BINS = 40
FEW_ANSWERS = 20
WORDS_COMPARED = 20_000
_CELL = 300

Row = dict[str, Any]


def look_at_sources(task: Task) -> ResearchNotes:
    """Notes on every source of the task. Raises InputError for one that can't be read."""
    wanted = [_text(task, item) for item in search_items(task)]
    found = [_source_notes(task, source.name, wanted) for source in task.sources]
    return ResearchNotes(notes=[_note(task, notes) for notes in found], sources=found)


def _source_notes(task: Task, name: str, wanted: Sequence[str]) -> SourceNotes:
    source = task.source(name)
    table = sources.load(task, name)
    columns = [column for column in table.column_names if not column.startswith(RESERVED)]
    rows: list[Row] = table.select_columns(columns).to_list()
    texts = [_text(task, row) for row in rows]
    text_column = _text_column(task, columns, rows)
    return SourceNotes(
        name=name,
        description=source.description,
        licence=source.licence,
        synthetic=source.synthetic,
        rows=len(rows),
        distinct=len(
            {tuple(" ".join(str(row[c]).split()) for c in example_columns(task, columns)) for row in rows}
        ),
        columns=columns,
        examples=[{key: _cell(value) for key, value in row.items()} for row in _spread(rows, EXAMPLES)],
        rating=_distribution(_numbers(rows, task.rating_column)),
        labels=_labels(task, rows, columns),
        words=None
        if text_column is None
        else _distribution(
            [len(str(row[text_column]).split()) for row in rows if row[text_column] is not None]
        ),
        text_column=text_column,
        closeness=closeness(texts, wanted),
    )


def _text(task: Task, row: Row) -> str:
    """What the row puts into the question."""
    turns = task.prompt.user + (task.prompt.system or "")
    return " ".join(
        str(row[name])
        for name in sorted(task.prompt.fields)
        if "{" + name + "}" in turns and row.get(name) is not None
    )


def _text_column(task: Task, columns: Sequence[str], rows: Sequence[Row]) -> str | None:
    """The longest text column of the question."""
    turns = task.prompt.user + (task.prompt.system or "")
    lengths = {
        column: statistics.fmean(len(str(row[column])) for row in rows)
        for column in columns
        if "{" + column + "}" in turns and isinstance(rows[0][column], str)
    }
    return max(lengths, key=lambda column: lengths[column], default=None)


def _numbers(rows: Iterable[Row], column: str | None) -> list[float]:
    values = [row.get(column) for row in rows] if column is not None else []
    return [float(v) for v in values if isinstance(v, int | float) and math.isfinite(v)]


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
    counts = Counter(str(row[column]) for row in rows)
    return dict(sorted(counts.items())) if len(counts) <= FEW_ANSWERS else {}


def _spread(rows: Sequence[Row], n: int) -> list[Row]:
    """Rows from the beginning, the middle and the end."""
    return [rows[i * len(rows) // n] for i in range(min(n, len(rows)))]


def _cell(value: object) -> object:
    if isinstance(value, bool | int | float) or value is None:
        return value
    text = str(value)
    return text if len(text) <= _CELL else text[:_CELL] + "…"


def closeness(texts: Sequence[str], wanted: Sequence[str]) -> float:
    """1 minus the Jensen-Shannon divergence in bits (Lin 1991) between the word frequencies of two text sets.

    Both sides are cut to the same number of words, because the divergence of small samples is larger.
    """
    from scipy.spatial.distance import jensenshannon

    ours, theirs = _words(texts), _words(wanted)
    size = min(len(ours), len(theirs), WORDS_COMPARED)
    if size == 0:
        return 0.0
    # Evenly spaced words: a source that is sorted must not be judged by its first rows.
    p, q = Counter(_thin(ours, size)), Counter(_thin(theirs, size))
    vocabulary = sorted(p.keys() | q.keys())
    distance = float(jensenshannon([p[w] for w in vocabulary], [q[w] for w in vocabulary], base=2))
    return round(min(1.0, max(0.0, 1.0 - distance**2)), 4)


def _words(texts: Iterable[str]) -> list[str]:
    return [word for text in texts for word in re.findall(r"\w+|[^\w\s]", text.casefold())]


def _thin(words: Sequence[str], size: int) -> list[str]:
    return [words[i * len(words) // size] for i in range(size)]


def _note(task: Task, notes: SourceNotes) -> Note:
    """A sentence on a source, with numbers."""
    parts = [f"{notes.rows} rows, {notes.distinct} distinct"]
    if notes.words is not None:
        parts.append(f"{notes.words.quantile(0.5):.0f} words in the median, {notes.words.high:.0f} at most")
    if notes.rating is not None:
        parts.append(
            f"ratings from {notes.rating.low:g} to {notes.rating.high:g}, {notes.rating.mean:.2f} on average"
        )
    if notes.labels:
        parts.append("answers: " + ", ".join(f"{label} {count}" for label, count in notes.labels.items()))
    parts.append(f"closeness to the search items {notes.closeness:.2f}")
    if notes.synthetic:
        parts.append("made by a rule")
    if not is_usable(task, notes):
        missing = ", ".join(sorted(task.prompt.fields - set(notes.columns)))
        parts.append(f"not usable: lacks {missing}")
    return Note(text="; ".join(parts), source=notes.name)
