"""The operator `hash_split`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from ..row_table import KEY, column, digest, take
from .protocol import Column, Flow, Operator, OperatorContext

if TYPE_CHECKING:
    from datasets import Dataset


class HashSplit(Operator):
    """Keep rows whose content hash falls in [start, stop) of [0, 1): disjoint ranges keep disjoint rows."""

    op: Literal["hash_split"] = "hash_split"
    start: float = Field(default=0.0, ge=0, lt=1, description="Where the range begins")
    stop: float = Field(default=1.0, gt=0, le=1, description="Where the range ends; not part of it")
    columns: tuple[Column, ...] | None = Field(
        default=None, min_length=1, description="Hash only these columns; None hashes the source's whole row"
    )

    examples: ClassVar = (
        {"op": "hash_split", "stop": 0.5},
        {"op": "hash_split", "start": 0.5, "columns": ["text"]},
    )
    kind: ClassVar = "selects"
    position: ClassVar = 60
    relax_order: ClassVar = 2

    @model_validator(mode="after")
    def _range_is_open(self) -> HashSplit:
        if self.start >= self.stop:
            raise ValueError(f"start ({self.start}) must be lower than stop ({self.stop})")
        return self

    def run(self, rows: Dataset, context: OperatorContext) -> Dataset:
        if self.columns is None:
            contents = column(rows, KEY)
        else:
            values = zip(*[column(rows, name) for name in self.columns], strict=True)
            contents = [json.dumps(chosen, ensure_ascii=False, default=str) for chosen in values]
        # No scope in this hash: a row falls on one side wherever, and in whatever stream, it is split.
        places = [(digest(content, "split") >> 11) / 2**53 for content in contents]
        return take(rows, [index for index, place in enumerate(places) if self.start <= place < self.stop])

    def estimate(self, flow: Flow) -> Flow:
        return flow.keeping(self.stop - self.start)
