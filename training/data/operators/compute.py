"""The operator `compute`: row programs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from ....errors import PlanError
from ..expressions.expression import parse
from ..expressions.row_program import ExpressionText, computed
from ..expressions.row_values import Value
from ..row_table import SYNTHETIC, take, with_column
from .protocol import Column, Operator, OperatorContext

if TYPE_CHECKING:
    from datasets import Dataset

MAX_COLUMNS = 40


class Compute(Operator):
    """Compute columns from the other columns of a row, by expressions of the row language; rows become synthetic.

    Columns are computed in their order and may use the ones before. A name that begins with `_` is not kept. A row
    for which an expression has no value is dropped.
    """

    op: Literal["compute"] = "compute"
    columns: dict[Column, ExpressionText] = Field(
        min_length=1, max_length=MAX_COLUMNS, description="Expression by name of the column that it makes"
    )

    examples: ClassVar = (
        {"op": "compute", "columns": {"label": "'a' if rating is None or rating > 0 else 'b'"}},
        {
            "op": "compute",
            "columns": {"_words": "text.split()", "first": "_words[0].upper()", "n": "len(_words)"},
        },
    )
    kind: ClassVar = "row-wise"
    position: ClassVar = 15
    remedies: ClassVar = {"column missing": "compute `{column}` by a compute step"}

    @model_validator(mode="after")
    def _keeps_a_column(self) -> Compute:
        if all(name.startswith("_") for name in self.columns):
            raise ValueError("every name begins with '_', so no column would be kept")
        return self

    def run(self, rows: Dataset, context: OperatorContext) -> Dataset:
        kept: list[int] = []
        values: dict[str, list[Value]] = {name: [] for name in self.columns if not name.startswith("_")}
        first_fault = ""
        for index, row in enumerate(computed(rows, self.columns)):
            if row.fault is not None:
                first_fault = first_fault or f"row {index + 1}: {row.fault}"
                context.dropped.add("no value", row.fault)
                continue
            kept.append(index)
            for name, column in values.items():
                column.append(row.values[name])
        if len(rows) and not kept:
            raise PlanError(f"no row has a value; the first, {first_fault}")
        made = take(rows, kept)
        for name, column in values.items():
            made = with_column(made, name, column)
        return with_column(made, SYNTHETIC, [True] * len(kept))

    def dependencies(self) -> Iterable[str]:
        for text in self.columns.values():
            yield from (function.identity for function in parse(text).functions)
