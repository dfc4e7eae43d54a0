"""The operator `rename`."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from ....errors import PlanError
from ..row_table import require
from .protocol import Column, Operator, OperatorContext

if TYPE_CHECKING:
    from datasets import Dataset


class Rename(Operator):
    """Rename columns: {old: new}."""

    op: Literal["rename"] = "rename"
    columns: dict[Column, Column] = Field(min_length=1, description="New name by old name")

    examples: ClassVar = (
        {"op": "rename", "columns": {"text": "review"}},
        {"op": "rename", "columns": {"text": "label", "label": "text"}},
    )
    kind: ClassVar = "row-wise"
    position: ClassVar = 0
    remedies: ClassVar = {"column missing": "rename a column to `{column}` by a rename step"}

    def run(self, rows: Dataset, context: OperatorContext) -> Dataset:
        for old in self.columns:
            require(rows, old)
        names = Counter(self.columns.get(name, name) for name in rows.column_names)
        for name, times in names.items():
            if times > 1:
                raise PlanError(f"two columns would be named '{name}'; rename the other one too")
        return rows.rename_columns(self.columns)
