"""Metrics that compare the answer to an item with the right answers to it, one item at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from ..task import Item
from .accuracy import after_thoughts
from .columns import as_text, column, column_text
from .measure import mean

Alternatives = Annotated[
    str | None, Field(description="Column with a list of further right answers; the best match counts")
]


def references(item: Item, metric: str, alternatives: str | None = None) -> list[str]:
    """The right answers to an item: its reference, and those in the column `alternatives`.

    Raises InputError for a row without one of these columns, and for a value that is too large or too nested.
    """
    first = column_text(item, "reference", metric)
    if alternatives is None:
        return [first]
    further = column(item, alternatives, f"{metric} (option `alternatives`)")
    texts = further if isinstance(further, list | tuple) else [] if further is None else [further]
    return [first, *(as_text(text, item, alternatives) for text in texts)]


class ReferenceMetric(ABC):
    """The mean over items of `compare`, in 0…1. `secondary`: the share of empty answers.

    Subclasses set `name`. Where an item has several right answers, the best match counts.
    """

    name: str
    aggregate = staticmethod(mean)

    def __init__(self, alternatives: Alternatives = None) -> None:
        self._alternatives = alternatives

    @abstractmethod
    def compare(self, reference: str, answer: str) -> float:
        """The value, in 0…1, of an answer beside a right answer. Neither contains reasoning."""

    def score_items(self, items: Sequence[Item], predictions: Sequence[str]) -> list[float]:
        """The value of each item. Raises InputError for a row without the column `alternatives`."""
        return [
            max(
                float(self.compare(after_thoughts(reference), after_thoughts(answer)))
                for reference in references(item, self.name, self._alternatives)
            )
            for item, answer in zip(items, predictions, strict=True)
        ]

    def secondary(self, items: Sequence[Item], predictions: Sequence[str]) -> dict[str, float]:
        """See the class."""
        return {"empty": sum(not after_thoughts(answer).strip() for answer in predictions) / len(predictions)}
