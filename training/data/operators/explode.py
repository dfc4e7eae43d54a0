"""The operator `explode`."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from ....errors import PlanError
from ..row_table import KEY, column, take, with_column
from .protocol import Column, Operator, OperatorContext

if TYPE_CHECKING:
    from datasets import Dataset

MAX_VALUES = 1_000
"""Rows that are made of one."""


class Explode(Operator):
    """Make a row for each value of a list; a row without one is dropped."""

    op: Literal["explode"] = "explode"
    column: Column = Field(description="The column of lists")
    into: Column | None = Field(default=None, description="The column the value goes into; null: the same")

    examples: ClassVar = (
        {"op": "explode", "column": "parts"},
        {"op": "explode", "column": "parts", "into": "part"},
    )
    kind: ClassVar = "expands"
    position: ClassVar = 8

    def run(self, rows: Dataset, context: OperatorContext) -> Dataset:
        indices: list[int] = []
        values: list[object] = []
        keys: list[str] = []
        for index, (key, found) in enumerate(zip(column(rows, KEY), column(rows, self.column), strict=True)):
            if found is not None and not isinstance(found, list):
                raise PlanError(
                    f"column '{self.column}' contains {str(found)[:40]}, no list: make one by a compute step"
                )
            if not found:
                context.dropped.add("no value", key)
            for place, value in enumerate((found or [])[:MAX_VALUES]):
                indices.append(index)
                values.append(value)
                keys.append(f"{key}/{place}")
        made = with_column(take(rows, indices), self.into or self.column, values)
        return with_column(made, KEY, keys)
