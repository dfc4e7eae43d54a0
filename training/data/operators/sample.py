"""The operator `sample`."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from ....evaluation.data_files import as_text
from ..row_table import apportion, choose, column, lowest, numbers, ranks, take
from .protocol import Column, Flow, Operator, OperatorContext

if TYPE_CHECKING:
    from datasets import Dataset


class Sample(Operator):
    """At most `n` rows, by hash with `seed`: the same rows on every machine; a larger n extends a smaller.

    With `by` every value keeps its share of the rows, with `weight` rows are drawn in proportion to a number.
    """

    op: Literal["sample"] = "sample"
    n: int = Field(ge=1, description="Rows at most")
    seed: int = Field(default=0, description="Another seed chooses other rows")

    by: Column | None = Field(
        default=None, description="Stratified: each value of this column keeps its share"
    )
    weight: Column | None = Field(
        default=None, description="A row's chance is in proportion to this number; without one it is dropped"
    )

    examples: ClassVar = (
        {"op": "sample", "n": 7, "seed": 3},
        {"op": "sample", "n": 20, "by": "label"},
        {"op": "sample", "n": 400, "weight": "id"},
    )
    kind: ClassVar = "selects"
    position: ClassVar = 50
    relax_order: ClassVar = 4

    def run(self, rows: Dataset, context: OperatorContext) -> Dataset:
        salt = f"sample/{context.scope}/{self.seed}"
        if self.by is None and self.weight is None:
            return choose(rows, self.n, salt)
        hashes = ranks(rows, salt)
        order: Sequence[float] = hashes
        chosen = list(range(len(rows)))
        if self.weight is not None:
            weights = numbers(rows, self.weight)
            chosen = [index for index in chosen if (weights[index] or 0) > 0]
            context.dropped.add("no weight", rows=len(rows) - len(chosen))
            order = [_draw(rank, weight or 0) for rank, weight in zip(hashes, weights, strict=True)]
        groups: dict[str, list[int]] = defaultdict(list)
        values = column(rows, self.by) if self.by is not None else [None] * len(rows)
        for index in chosen:
            groups[as_text(values[index])].append(index)
        names = sorted(groups)
        shares = apportion(min(self.n, len(chosen)), [len(groups[name]) for name in names]) if names else []
        return take(
            rows,
            sorted(
                i
                for name, share in zip(names, shares, strict=True)
                for i in lowest(groups[name], order, share)
            ),
        )

    def estimate(self, flow: Flow) -> Flow:
        return replace(flow, rows=min(flow.rows, float(self.n)))


def _draw(rank: int, weight: float) -> float:
    """The smallest of these are a sample without replacement (Efraimidis and Spirakis 2006, in logarithms)."""
    return -math.log((rank + 1) / (2**64 + 1)) / weight if weight > 0 else math.inf
