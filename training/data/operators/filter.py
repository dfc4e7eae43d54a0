"""The operator `filter`."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from ....errors import PlanError
from ....evaluation.data_files import as_text
from ..row_table import Scalar, column, numbers, take, texts
from .protocol import Column, Flow, Operator, OperatorContext

if TYPE_CHECKING:
    from datasets import Dataset


_OF_TEXT = ("min_words", "max_words", "min_chars", "max_chars", "matches")


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
    min_chars: int | None = Field(default=None, ge=0, description="The text has so many characters or more")
    max_chars: int | None = Field(default=None, ge=1, description="The text has so many characters or fewer")
    matches: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="A regular expression (RE2) matches in the text",
    )

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
            conditions = ", ".join(name for name in type(self).model_fields if name not in ("op", "column"))
            raise ValueError(f"give at least one of {conditions}")
        if self._is_numeric and self._is_of_text:
            raise ValueError(f"at_least and at_most are for numbers, {' and '.join(_OF_TEXT)} for text")
        return self

    @property
    def _is_numeric(self) -> bool:
        return self.at_least is not None or self.at_most is not None

    @property
    def _is_of_text(self) -> bool:
        return any(getattr(self, name) is not None for name in _OF_TEXT)

    def run(self, rows: Dataset, context: OperatorContext) -> Dataset:
        values: Sequence[Any] = column(rows, self.column)
        if self._is_numeric:
            values = numbers(rows, self.column)
        elif self._is_of_text:
            values = texts(rows, self.column)
        kept = [i for i, value in enumerate(values) if value is not None and self._holds(value)]
        if self.matches is not None:
            kept = [
                i
                for i, found in zip(kept, _matching([values[i] for i in kept], self.matches), strict=True)
                if found
            ]
        return take(rows, kept)

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
        """By the text alone."""
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
            and (self.min_chars is None or len(value) >= self.min_chars)
            and (self.max_chars is None or len(value) <= self.max_chars)
        )


def _matching(texts: Sequence[str], pattern: str) -> list[bool]:
    """Whether a regular expression matches in each text, in linear time. Raises PlanError for an invalid one."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        found: list[bool] = pc.match_substring_regex(
            pa.array(texts, pa.string()), pattern=pattern
        ).to_pylist()
    except pa.ArrowInvalid as error:
        raise PlanError(f"matches: {str(error).splitlines()[0]}") from None
    return found


def _equal(value: Any, wanted: Scalar) -> bool:
    """Equal as a prompt shows them: 1 is 1.0 and '1', as files without kinds of values hold it, but not True."""
    return as_text(value) == as_text(wanted)


def _bounds(low: float | None, high: float | None) -> tuple[float, float]:
    return -inf if low is None else low, inf if high is None else high
