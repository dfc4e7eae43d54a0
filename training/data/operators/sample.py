"""The operator `sample`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from ..row_table import choose
from .protocol import Flow, Operator, OperatorContext

if TYPE_CHECKING:
    from datasets import Dataset


class Sample(Operator):
    """At most `n` rows, by hash with `seed`: the same rows on every machine; a larger n extends a smaller."""

    op: Literal["sample"] = "sample"
    n: int = Field(ge=1, description="Rows at most")
    seed: int = Field(default=0, description="Another seed chooses other rows")

    examples: ClassVar = ({"op": "sample", "n": 7, "seed": 3},)
    kind: ClassVar = "selects"
    position: ClassVar = 50
    relax_order: ClassVar = 4

    def run(self, rows: Dataset, context: OperatorContext) -> Dataset:
        return choose(rows, self.n, f"sample/{context.scope}/{self.seed}")

    def estimate(self, flow: Flow) -> Flow:
        return replace(flow, rows=min(flow.rows, float(self.n)))
