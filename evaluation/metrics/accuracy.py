"""Accuracy: the share of answers whose first line says exactly the reference.

Both sides are normalised the way SQuAD's scorer treats words, without dropping articles: Unicode NFKC, case
folded, punctuation at both ends removed, runs of white space made one space.

    reference 'positive', answer ' Positive.\\nBecause …'  → 1
    reference 'positive', answer 'It is positive'         → 0
"""

from __future__ import annotations

import string
import unicodedata
from collections.abc import Sequence

from ...errors import TrexError
from ..task import Item
from .measure import mean

_EDGES = string.punctuation + string.whitespace + "“”‘’«»…"


def normalise(text: str) -> str:
    """The form in which answers are compared. Text that is nothing but punctuation keeps it."""
    folded = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return folded.strip(_EDGES) or folded


def first_line(text: str) -> str:
    """The first line that isn't blank; '' for a blank answer."""
    return next((line for line in text.splitlines() if line.strip()), "")


class Accuracy:
    """Exact match of the first line. An empty answer is wrong, unless the reference is empty too."""

    name = "accuracy"
    aggregate = staticmethod(mean)

    def score_items(self, items: Sequence[Item], predictions: Sequence[str]) -> list[float]:
        """1.0 or 0.0 per item. Raises TrexError for no items."""
        if not items:
            raise TrexError("accuracy of no items is not defined")
        return [
            float(normalise(first_line(answer)) == normalise(str(item["reference"])))
            for item, answer in zip(items, predictions, strict=True)
        ]

    def secondary(self, items: Sequence[Item], predictions: Sequence[str]) -> dict[str, float]:
        """The share of empty answers."""
        return {"empty": sum(not answer.strip() for answer in predictions) / len(predictions)}
