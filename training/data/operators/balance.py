"""The operator `balance`."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import ConfigDict, Field

from ..row_table import column, lowest, ranks, take
from .protocol import Column, Flow, Operator, OperatorContext

if TYPE_CHECKING:
    from datasets import Dataset


class Balance(Operator):
    """The same number of rows for every value of a column, by hash order: the rarest sets the number."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"op": "balance", "column": "label"}]})

    op: Literal["balance"] = "balance"
    column: Column = Field(description="The column; rows without a value are dropped")

    kind: ClassVar = "selects"
    position: ClassVar = 40

    def run(self, rows: Dataset, context: OperatorContext) -> Dataset:
        groups: dict[str, list[int]] = defaultdict(list)
        for index, value in enumerate(column(rows, self.column)):
            if value is not None:
                groups[json.dumps(value, default=str)].append(index)
        size = min((len(group) for group in groups.values()), default=0)
        rank = ranks(rows, f"balance/{context.scope}")
        return take(rows, sorted(index for group in groups.values() for index in lowest(group, rank, size)))

    def estimate(self, flow: Flow) -> Flow:
        """The column is taken to be the answer's."""
        return replace(flow.keeping(min(1.0, flow.rarest * flow.answers)), rarest=1 / max(1, flow.answers))
