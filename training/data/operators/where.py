"""The operator `where`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from ....errors import PlanError
from ..expressions.expression import parse
from ..expressions.row_program import ExpressionText, computed
from ..row_table import take
from .protocol import Operator, OperatorContext

if TYPE_CHECKING:
    from datasets import Dataset


class Where(Operator):
    """Keep rows for which an expression of the row language is true; a row for which it has no value is dropped."""

    op: Literal["where"] = "where"
    test: ExpressionText = Field(
        description="The expression, e.g. `len(text.split()) > 3 and 'http' not in text`"
    )

    examples: ClassVar = (
        {"op": "where", "test": "len(text) > 0"},
        {"op": "where", "test": "rating is None or rating * 2 > -99"},
    )
    kind: ClassVar = "selects"
    position: ClassVar = 21
    relax_order: ClassVar = 1

    def run(self, rows: Dataset, context: OperatorContext) -> Dataset:
        kept = []
        faults = 0
        for index, row in enumerate(computed(rows, {"test": self.test})):
            if row.fault is not None:
                faults += 1
                context.dropped.add("no value", row.fault)
            elif row.values["test"]:
                kept.append(index)
            else:
                context.dropped.add("test is false")
        if faults and faults == len(rows):
            raise PlanError(
                f"the test has no value for any row; the first: {context.dropped.examples['no value']}"
            )
        return take(rows, kept)

    def dependencies(self) -> Iterable[str]:
        return (function.identity for function in parse(self.test).functions)

    def replaces(self, other: Operator) -> bool:
        """Several tests stand side by side."""
        return other == self
