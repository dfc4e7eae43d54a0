"""The operator `shuffle`."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from ..row_table import ranks, take
from .protocol import Operator, OperatorContext

if TYPE_CHECKING:
    from datasets import Dataset


class Shuffle(Operator):
    """Order rows by a seeded hash."""

    op: Literal["shuffle"] = "shuffle"
    seed: int = Field(default=0, description="Another seed gives another order")

    examples: ClassVar = ({"op": "shuffle", "seed": 1},)
    kind: ClassVar = "orders"
    position: ClassVar = 90
    cleaning: ClassVar = "shuffle"

    def run(self, rows: Dataset, context: OperatorContext) -> Dataset:
        rank = ranks(rows, f"shuffle/{self.seed}")
        return take(rows, sorted(range(len(rows)), key=rank.__getitem__))
