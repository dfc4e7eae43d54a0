"""The operator `threshold`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from ..row_table import Scalar, numbers, take, with_column
from .protocol import Column, Flow, Operator, OperatorContext

if TYPE_CHECKING:
    from datasets import Dataset


class Threshold(Operator):
    """Turn a numeric column into a label: above `above` → `high`, below `below` → `low`, between: dropped."""

    op: Literal["threshold"] = "threshold"
    column: Column = Field(description="The numeric column")
    into: Column = Field(default="label", description="The column the label goes into")
    below: float = Field(default=0.0, description="Numbers below this get the label `low`")
    above: float = Field(default=0.0, description="Numbers above this get the label `high`")
    low: Scalar = Field(default="negative", description="Label of low numbers")
    high: Scalar = Field(default="positive", description="Label of high numbers")

    examples: ClassVar = (
        {"op": "threshold", "column": "rating", "below": -1, "above": 1},
        {"op": "threshold", "column": "rating", "into": "grade", "low": 0, "high": 1},
    )
    kind: ClassVar = "row-wise"
    position: ClassVar = 10
    relax_order: ClassVar = 3
    remedies: ClassVar = {"label missing": "add a threshold step that makes `{column}` from `{rating}`"}

    @model_validator(mode="after")
    def _sides_are_apart(self) -> Threshold:
        if self.below > self.above:
            raise ValueError(f"below ({self.below}) must not be higher than above ({self.above})")
        if type(self.low) is not type(self.high):
            raise ValueError(f"low ({self.low!r}) and high ({self.high!r}) must be of one type")
        return self

    def run(self, rows: Dataset, context: OperatorContext) -> Dataset:
        rated = [(i, value) for i, value in enumerate(numbers(rows, self.column)) if value is not None]
        kept = [(i, value) for i, value in rated if value < self.below or value > self.above]
        labels = [self.high if value > self.above else self.low for _, value in kept]
        return with_column(take(rows, [i for i, _ in kept]), self.into, labels)

    def constants(self) -> dict[str, tuple[Scalar, ...]]:
        return {self.into: (self.low, self.high)}

    def estimate(self, flow: Flow) -> Flow:
        if flow.source is None or flow.source.rating is None:
            return flow
        low, high = flow.source.rating.share(high=self.below), flow.source.rating.share(low=self.above)
        answers = (low / (low + high), high / (low + high)) if low + high else (0.5, 0.5)
        return replace(flow.keeping(low + high), answers=answers)

    def relaxed(self) -> Threshold:
        """The labels without the margin between them."""
        middle = (self.above + self.below) / 2
        return self.model_copy(update={"above": middle, "below": middle})
