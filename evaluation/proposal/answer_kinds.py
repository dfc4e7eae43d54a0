"""Kinds of answers: a class, a number, labels, JSON, a short or a long text; each with its metric."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..data_files import Row, printable
from .column_profiles import Classes, ColumnProfile

_IMBALANCED = 3.0
_SHORT = 4  # words
_LONG = 12


@dataclass(frozen=True)
class AnswerKind:
    """How an answer is asked for and scored."""

    metric: Any
    metric_reason: str
    choices: tuple[str, ...] = ()
    choices_reason: str = ""
    instruction: str = ""  # `{answer}` is the column's name
    notes: list[str] = field(default_factory=list)


def kind_of_answer(column: ColumnProfile, sample: Sequence[Row]) -> AnswerKind:
    """The kind of the answers in a column; `sample` are rows of the files."""
    if column.share(re.compile(r"\{.*\}|\[\{.*\}\]", re.DOTALL)) > 0.9 and all(map(_is_json, column.values)):
        return AnswerKind("json_match", "the answers are JSON", instruction="{answer}, as JSON:")
    labels = _labels(column, sample)
    if labels:
        return AnswerKind(
            "multilabel_f1", f"the answers are lists of {len(labels)} labels", instruction="{answer}:"
        )
    if column.classes is not None:
        return _class(column, column.classes)
    if column.is_number:
        whole = column.share(re.compile(r"[+-]?\d+")) > 0.99
        metric = "numeric" if whole else {"name": "numeric", "relative_tolerance": 0.01}
        within = "" if whole else ", right within 1 %"
        return AnswerKind(metric, f"the answers are numbers{within}", instruction="{answer}, as a number:")
    if column.words <= _SHORT:
        return AnswerKind("exact_match", "the answers are a few words", instruction="{answer}:")
    if column.words <= _LONG:
        return AnswerKind("token_f1", "the answers are a sentence: words in common with the right one")
    return AnswerKind("rouge", "the answers are texts: words in common with the right one")


def _class(column: ColumnProfile, classes: Classes) -> AnswerKind:
    sizes = list(classes.rows.values())
    ratio = sizes[0] / sizes[-1]
    listed = ", ".join(f"{printable(name)} {rows}" for name, rows in list(classes.rows.items())[:8])
    more = f" and {len(sizes) - 8} more" if len(sizes) > 8 else ""
    notes = []
    if classes.variants:
        found = ", ".join(
            f"{printable(a)!r} for {printable(b)!r}" for a, b in list(classes.variants.items())[:4]
        )
        rows = sum(column.values[name] for name in classes.variants)
        notes.append(
            f"{rows} rows have a spelling that is no choice ({found}): they are left out unless corrected"
        )
    if classes.empty:
        found = ", ".join(f"{printable(name)!r} {rows}" for name, rows in classes.empty.items())
        notes.append(f"{found}: taken for no answer, these rows are left out; add it to choices if it is one")
    few = [name for name, rows in classes.rows.items() if rows < 10]
    if few:
        notes.append(
            f"few rows have the answer {', '.join(map(printable, few))}: too few to learn or to measure it"
        )
    metric, why = "accuracy", "the answers are classes: the share of right ones"
    if ratio > _IMBALANCED:
        metric = "macro_f1"
        why = f"the largest class has {ratio:.0f} times the rows of the smallest: macro-F1 counts each class alike"
    return AnswerKind(metric, why, tuple(sorted(classes.rows)), f"rows with each: {listed}{more}", "", notes)


def _labels(column: ColumnProfile, sample: Sequence[Row]) -> list[str]:
    """The labels, if answers list one or more of few, in a list or separated by commas or semicolons."""
    lists = [row[column.name] for row in sample if isinstance(row.get(column.name), list)]
    if lists and all(isinstance(label, str | int) for found in lists for label in found):
        return _reused(Counter(str(label) for found in lists for label in found))
    several = column.share(re.compile(r"[^,;]{1,40}([,;] ?[^,;]{1,40})+"))
    if column.nested or several < 0.2:
        return []
    counts: Counter[str] = Counter()
    for text, rows in column.values.items():
        for label in re.split(r"[,;]", text):
            counts[label.strip()] += rows
    return _reused(counts)


def _reused(counts: Counter[str]) -> list[str]:
    return list(counts) if 2 <= len(counts) <= 200 and counts.total() >= 5 * len(counts) else []


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
