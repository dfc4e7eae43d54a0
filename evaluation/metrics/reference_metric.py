"""Metrics that compare the answer to an item with the right answers to it, one item at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field

from ...errors import InputError
from ..task import Item
from .accuracy import after_thoughts
from .measure import mean

Alternatives = Annotated[
    str | None, Field(description="Column with a list of further right answers; the best match counts")
]


def references(item: Item, alternatives: str | None = None) -> list[str]:
    """The right answers to an item: its reference, and those in the column `alternatives`.

    Raises InputError for a row without that column.
    """
    if alternatives is None:
        return [str(item["reference"])]
    if alternatives not in item:
        raise InputError(
            f"row {item.get('id', '?')} has no column {alternatives!r}, which the metric's option "
            "`alternatives` names"
        )
    further: Any = item[alternatives]
    texts = further if isinstance(further, list | tuple) else [] if further is None else [further]
    return [str(item["reference"]), *map(str, texts)]


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
                for reference in references(item, self._alternatives)
            )
            for item, answer in zip(items, predictions, strict=True)
        ]

    def secondary(self, items: Sequence[Item], predictions: Sequence[str]) -> dict[str, float]:
        """See the class."""
        return {"empty": sum(not after_thoughts(answer).strip() for answer in predictions) / len(predictions)}
