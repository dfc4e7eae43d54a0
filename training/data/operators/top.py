"""The operator `top`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from ....errors import PlanError
from ..expressions.expression import parse
from ..expressions.row_program import ExpressionText, computed
from ..expressions.row_values import kind, shown
from ..row_table import ranks, take
from .protocol import Flow, Operator, OperatorContext

if TYPE_CHECKING:
    from datasets import Dataset


class Top(Operator):
    """The `n` rows of the highest score, an expression of the row language; rows without a score are dropped.

    Of equal scores a hash of the rows' content decides.
    """

    op: Literal["top"] = "top"
    by: ExpressionText = Field(description="The score: a column, or an expression with a number as its value")
    n: int = Field(ge=1, description="Rows at most")
    lowest: bool = Field(default=False, description="The rows of the lowest score instead")

    examples: ClassVar = ({"op": "top", "by": "len(text)", "n": 7}, {"op": "top", "by": "rating", "n": 999})
    kind: ClassVar = "selects"
    position: ClassVar = 45
    relax_order: ClassVar = 4

    def run(self, rows: Dataset, context: OperatorContext) -> Dataset:
        scores: list[tuple[float, int, int]] = []
        rank = ranks(rows, f"top/{context.scope}")
        for index, row in enumerate(computed(rows, {"by": self.by})):
            score = row.values.get("by")
            if score is None:
                context.dropped.add("no score", row.fault or "")
                continue
            if kind(score) != "a number":
                raise PlanError(f"the score of row {index + 1} is {shown(score)}, not a number")
            scores.append((score if self.lowest else -score, rank[index], index))
        return take(rows, sorted(index for _, _, index in sorted(scores)[: self.n]))

    def dependencies(self) -> Iterable[str]:
        return (function.identity for function in parse(self.by).functions)

    def estimate(self, flow: Flow) -> Flow:
        return replace(flow, rows=min(flow.rows, float(self.n)))
