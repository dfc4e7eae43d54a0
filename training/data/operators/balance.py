"""The operator `balance`."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from ..row_table import column, lowest, ranks, take
from .protocol import Column, Flow, Operator, OperatorContext

if TYPE_CHECKING:
    from datasets import Dataset

RARE_ROWS = 10
RARE_SHARE = 0.02
"""By default a value with fewer rows than this, or than this share of the most frequent value's, is rare."""


class Balance(Operator):
    """At most `max_ratio` times as many rows for one value of a column as for another, by hash order.

    Rare values keep all their rows and do not set the limit, and `keep` of the rows are always kept: a misspelt or a
    rare label does not cost the others their rows.
    """

    op: Literal["balance"] = "balance"
    column: Column = Field(description="The column; rows without a value are dropped")
    max_ratio: float = Field(default=3.0, ge=1, description="Largest ratio; 1: equal numbers")
    floor: int | None = Field(
        default=None,
        ge=0,
        description="A value with fewer rows is rare; null: 10 rows, or 2 % of the most frequent value's if more",
    )
    keep: float = Field(
        default=0.5, ge=0, le=1, description="The limit is raised until this share of the rows is kept"
    )

    examples: ClassVar = (
        {"op": "balance", "column": "label"},
        {"op": "balance", "column": "label", "max_ratio": 1, "floor": 0, "keep": 0},
    )
    kind: ClassVar = "selects"
    position: ClassVar = 40

    def run(self, rows: Dataset, context: OperatorContext) -> Dataset:
        groups: dict[str, list[int]] = defaultdict(list)
        for index, value in enumerate(column(rows, self.column)):
            if value is not None:
                groups[json.dumps(value, sort_keys=True, default=str)].append(index)
        size = int(self._limit([len(group) for group in groups.values()]))
        rank = ranks(rows, f"balance/{context.scope}")
        return take(rows, sorted(index for group in groups.values() for index in lowest(group, rank, size)))

    def estimate(self, flow: Flow) -> Flow:
        """The column is taken to be the answer's."""
        sizes = [flow.rows * share for share in flow.answers]
        limit = self._limit(sizes)
        kept = [min(size, limit) for size in sizes]
        if not sum(kept):
            return flow
        answers = tuple(size / sum(kept) for size in kept)
        return replace(flow.keeping(sum(kept) / sum(sizes)), answers=answers)

    def _limit(self, sizes: Sequence[float]) -> float:
        """The most rows of one value, given the rows of each."""
        largest = max(sizes, default=0)
        floor = max(RARE_ROWS, RARE_SHARE * largest) if self.floor is None else self.floor
        common = [size for size in sizes if size >= floor]
        if not common:
            return largest
        return max(math.floor(min(common) * self.max_ratio), math.ceil(_level(sizes, self.keep * sum(sizes))))


def _level(sizes: Sequence[float], total: float) -> float:
    """The limit at which the sizes, cut to it, sum to `total`."""
    ascending = sorted(sizes)
    for place, size in enumerate(ascending):
        level = total / (len(ascending) - place)
        if level <= size:
            return level
        total -= size
    return ascending[-1]
