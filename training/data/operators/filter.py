"""The operator `filter`."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from ....evaluation.data_files import as_text
from ..row_table import Scalar, column, numbers, take, texts
from .protocol import Column, Flow, Operator, OperatorContext

if TYPE_CHECKING:
    from datasets import Dataset


class Filter(Operator):
    """Keep rows whose column satisfies every condition given; a row without a value satisfies none."""

    op: Literal["filter"] = "filter"
    column: Column = Field(description="The column the conditions are about")
    equals: Scalar | None = Field(default=None, description="The value is this one")
    one_of: tuple[Scalar, ...] | None = Field(default=None, description="The value is one of these")
    at_least: float | None = Field(default=None, description="The number is this or higher")
    at_most: float | None = Field(default=None, description="The number is this or lower")
    min_words: int | None = Field(default=None, ge=0, description="The text has so many words or more")
    max_words: int | None = Field(default=None, ge=1, description="The text has so many words or fewer")

    examples: ClassVar = (
        {"op": "filter", "column": "rating", "at_least": 0},
        {"op": "filter", "column": "text", "min_words": 2, "max_words": 3},
        {"op": "filter", "column": "label", "one_of": ["a", "b"]},
    )
    kind: ClassVar = "selects"
    position: ClassVar = 20
    cleaning: ClassVar = "filter by words"
    relax_order: ClassVar = 1
    remedies: ClassVar = {
        "value missing": "filter out the rows without it",
        "answer empty": "filter such rows out, e.g. by min_words",
    }

    @model_validator(mode="after")
    def _has_a_condition(self) -> Filter:
        if not self.model_dump(exclude={"op", "column"}, exclude_none=True):
            raise ValueError("give at least one of equals, one_of, at_least, at_most, min_words, max_words")
        if self._is_numeric and self._is_by_words:
            raise ValueError("at_least and at_most are for numbers, min_words and max_words for text")
        return self

    @property
    def _is_numeric(self) -> bool:
        return self.at_least is not None or self.at_most is not None

    @property
    def _is_by_words(self) -> bool:
        return self.min_words is not None or self.max_words is not None

    def run(self, rows: Dataset, context: OperatorContext) -> Dataset:
        values: Sequence[Any] = column(rows, self.column)
        if self._is_numeric:
            values = numbers(rows, self.column)
        elif self._is_by_words:
            values = texts(rows, self.column)
        return take(rows, [i for i, value in enumerate(values) if value is not None and self._holds(value)])

    def estimate(self, flow: Flow) -> Flow:
        """Conditions on words and on the rating count; others are taken to hold."""
        if flow.source is None:
            return flow
        if self.column == flow.source.text_column and flow.source.words is not None:
            return flow.keeping(flow.source.words.share(*_bounds(self.min_words, self.max_words)))
        if self._is_numeric and flow.source.rating is not None:
            return flow.keeping(flow.source.rating.share(*_bounds(self.at_least, self.at_most)))
        return flow

    def cleans(self) -> bool:
        """By words alone."""
        return all(bound is None for bound in (self.equals, self.one_of, self.at_least, self.at_most))

    def replaces(self, other: Operator) -> bool:
        """Filters of different columns stand side by side."""
        return isinstance(other, Filter) and other.column == self.column

    def _holds(self, value: Any) -> bool:
        words = len(value.split()) if isinstance(value, str) else 0
        return (
            (self.equals is None or _equal(value, self.equals))
            and (self.one_of is None or any(_equal(value, option) for option in self.one_of))
            and (self.at_least is None or value >= self.at_least)
            and (self.at_most is None or value <= self.at_most)
            and (self.min_words is None or words >= self.min_words)
            and (self.max_words is None or words <= self.max_words)
        )


def _equal(value: Any, wanted: Scalar) -> bool:
    """Equal as a prompt shows them: 1 is 1.0 and '1', as files without kinds of values hold it, but not True."""
    return as_text(value) == as_text(wanted)


def _bounds(low: float | None, high: float | None) -> tuple[float, float]:
    return -inf if low is None else low, inf if high is None else high
