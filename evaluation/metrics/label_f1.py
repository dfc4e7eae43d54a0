"""F1 of labels: macro- and micro-F1 of one label an item, and F1 of several labels an item.

Scores are pooled: true positives, false positives and false negatives are summed over items first. The macro average is
over the labels of the references, so that a resample without a rare label has no F1 for it. In scikit-learn it is
`f1_score(gold, answers, labels=sorted(set(gold)), average="macro")`.
"""

from __future__ import annotations

import json
import re
from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from ..task import Item
from .accuracy import after_thoughts, first_line, normalise
from .columns import column_text
from .measure import mean
from .metric_example import MetricExample
from .protocol import Counts

MOST_LABELS = 30
"""With more labels, `secondary` leaves the F1 of the single ones out."""

Average = Literal["macro", "micro", "items"]


class _LabelF1:
    """What the three metrics share. The columns of the counts are hits, extra and missed labels, one of each for a
    label, then one of each for all other answers together: these count for micro-F1, and are no class of macro-F1.
    """

    aggregate = staticmethod(mean)  # of values; the score is pooled from counts
    name: str
    average: Average

    @abstractmethod
    def read(self, text: str) -> frozenset[str]:
        """The normalised labels that a reference or an answer gives."""

    def score_items(self, items: Sequence[Item], predictions: Sequence[str]) -> list[float]:
        """The F1 of each item's own labels; 1 where neither reference nor answer has a label."""
        return [float(value) for value in _f1_together(self._tallies(items, predictions), empty=1.0)]

    def counts(self, items: Sequence[Item], predictions: Sequence[str]) -> Counts:
        """Per item its hits, extra and missed labels, of each label; then its F1, and 1."""
        tallies = self._tallies(items, predictions)
        flat = tallies.reshape(len(items), -1)
        return np.column_stack([flat, _f1_together(tallies, empty=1.0), np.ones(len(items))])

    def pooled(self, totals: Counts) -> Counts:
        """The score of summed counts."""
        return self._pooled(totals, self.average)

    def secondary(self, items: Sequence[Item], predictions: Sequence[str]) -> dict[str, float]:
        """The other averages, the share of items whose labels are all right, and the F1 of each label."""
        names = self._names(items)
        totals = self.counts(items, predictions).sum(axis=0)
        figures = {f"{kind}_f1": float(self._pooled(totals, kind)) for kind in ("macro", "micro", "items")}
        figures["exact"] = mean([value == 1 for value in self.score_items(items, predictions)])
        if len(names) <= MOST_LABELS:
            single = _f1(_split(totals)[:, :-1], empty=0.0)
            figures |= {f"f1 {name}": float(value) for name, value in zip(names, single, strict=True)}
        return figures

    @staticmethod
    def _pooled(totals: Counts, average: Average) -> Counts:
        if average == "items":
            return np.asarray(totals[..., -2] / np.maximum(totals[..., -1], 1.0))
        tallies = _split(totals)
        if average == "micro":
            return _f1_together(tallies, empty=0.0)
        occurs = tallies[..., 0, :-1] + tallies[..., 2, :-1] > 0
        single = np.where(occurs, _f1(tallies[..., :-1], empty=0.0), 0.0)
        return np.asarray(single.sum(axis=-1) / np.maximum(occurs.sum(axis=-1), 1))

    def _names(self, items: Sequence[Item]) -> list[str]:
        return sorted(frozenset().union(*(self._wanted(item) for item in items)))

    def _wanted(self, item: Item) -> frozenset[str]:
        return self.read(column_text(item, "reference", self.name))

    def _tallies(self, items: Sequence[Item], predictions: Sequence[str]) -> Counts:
        """Zeros and ones of shape (items, 3, labels + 1): hit, extra, missed."""
        columns = {name: column for column, name in enumerate(self._names(items))}
        tallies = np.zeros((len(items), 3, len(columns) + 1))
        for row, item, answer in zip(tallies, items, predictions, strict=True):
            wanted, found = self._wanted(item), self.read(answer)
            for kind, names in enumerate((wanted & found, found - wanted, wanted - found)):
                for name in names:
                    row[kind, columns.get(name, -1)] += 1
        return tallies


class _SingleLabelF1(_LabelF1):
    def read(self, text: str) -> frozenset[str]:
        return frozenset((normalise(first_line(after_thoughts(text))),))


class MacroF1(_SingleLabelF1):
    """The mean over labels of the F1 of each label; every class counts alike, however rare it is.

    The first line of an answer, normalised as for `accuracy`, is its label. An answer that is no label is a miss of
    the reference's label. `secondary`: micro-F1, accuracy ('exact'), and the F1 of each label.
    """

    name = "macro_f1"
    average = "macro"
    examples = (
        MetricExample(answer="Billing.", reference="billing", value=1),
        MetricExample(answer="no idea", reference="billing", value=0),
    )


class MicroF1(_SingleLabelF1):
    """F1 from true and false positives and negatives summed over all labels.

    With one label an item it equals accuracy; for several labels an item see `multilabel_f1`. `secondary`: macro-F1,
    accuracy ('exact'), and the F1 of each label.
    """

    name = "micro_f1"
    average = "micro"
    examples = MacroF1.examples


class MultilabelF1(_LabelF1):
    """F1 of the labels that an answer lists, in any order.

    Labels are separated by commas, semicolons or line breaks, or are a JSON list. Case and punctuation at the ends of
    a label are ignored, and a label that is given twice counts once. No label is a valid answer: an empty text, or
    `[]`. `secondary`: the other averages, the share of items whose labels are all right ('exact'), and the F1 of each
    label.
    """

    examples = (
        MetricExample(answer="network; Billing", reference="billing, network", value=1),
        MetricExample(answer='["billing", "spam"]', reference="billing, network", value=0.5),
        MetricExample(answer="a, b | c", reference="c | a, b", options={"separator": " | "}, value=1),
    )

    def __init__(
        self,
        average: Annotated[
            Average,
            Field(description="'micro' sums over all, 'macro' averages labels, 'items' averages items"),
        ] = "micro",
        separator: Annotated[
            str | None, Field(min_length=1, description="None: commas, semicolons and line breaks")
        ] = None,
    ) -> None:
        self.average = average
        self.name = f"{average}_f1"
        self._separator = re.compile(r"[,;\n]" if separator is None else re.escape(separator))

    def read(self, text: str) -> frozenset[str]:
        plain = after_thoughts(text).strip()
        parts = _json_list(plain) if plain.startswith("[") else None
        named = self._separator.split(plain) if parts is None else parts
        return frozenset(normalise(part) for part in named if part.strip())


def _json_list(text: str) -> list[str] | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return [str(part) for part in found] if isinstance(found, list) else None


def _split(totals: Counts) -> Counts:
    """(..., 3 k + 2) to (..., 3, k)."""
    return totals[..., :-2].reshape(*totals.shape[:-1], 3, -1)


def _f1(tallies: Counts, empty: float) -> Counts:
    """(..., 3, k) to the F1 of each of k labels; `empty` where all three numbers are 0."""
    hits, extra, missed = np.moveaxis(tallies, -2, 0)
    sums = 2 * hits + extra + missed
    return np.asarray(np.where(sums > 0, 2 * hits / np.maximum(sums, 1e-12), empty))


def _f1_together(tallies: Counts, empty: float) -> Counts:
    """(..., 3, k) to the F1 of the sums over all k labels."""
    return _f1(tallies.sum(axis=-1, keepdims=True), empty)[..., 0]
