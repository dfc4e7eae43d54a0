"""The operator `dedup`."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from ..row_table import KEY, STREAM, column, take
from .protocol import Column, Flow, Operator, OperatorContext

if TYPE_CHECKING:
    from datasets import Dataset


class Dedup(Operator):
    """Keep one row of those whose normalised text in `columns` is the same.

    An earlier stream goes before a later one; within a stream the content hash decides, so that the order of
    a file does not. Normalised: Unicode NFC and single spaces.
    """

    op: Literal["dedup"] = "dedup"
    columns: tuple[Column, ...] = Field(min_length=1, description="The columns that are compared")
    ignore_case: bool = Field(default=False, description="Wrong for SMILES, formulas and code")

    examples: ClassVar = ({"op": "dedup", "columns": ["text"]},)
    kind: ClassVar = "selects"
    position: ClassVar = 30
    cleaning: ClassVar = "dedup"
    removes_duplicates: ClassVar = True
    remedies: ClassVar = {"rows repeated": "add a dedup step"}

    def run(self, rows: Dataset, context: OperatorContext) -> Dataset:
        columns = [column(rows, name) for name in self.columns]
        streams = column(rows, STREAM)
        order = {name: place for place, name in enumerate(dict.fromkeys(streams))}
        best: dict[tuple[str, ...], tuple[int, str, int]] = {}
        for index, (key, stream, *values) in enumerate(
            zip(column(rows, KEY), streams, *columns, strict=True)
        ):
            text = tuple(_normalise(str(value), self.ignore_case) for value in values)
            candidate = (order[stream], key, index)
            best[text] = min(best.get(text, candidate), candidate)
        return take(rows, sorted(index for _, _, index in best.values()))

    def estimate(self, flow: Flow) -> Flow:
        return replace(flow, rows=min(flow.rows, flow.distinct))


def _normalise(text: str, ignore_case: bool) -> str:
    """Unicode NFC and single spaces; without case, NFKC and case-folded."""
    if ignore_case:
        text = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(unicodedata.normalize("NFC", text).split())
