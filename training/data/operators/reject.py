"""The operator `reject`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from ..row_table import REJECTED, column, ranks, with_column
from .protocol import Column, Operator, OperatorContext

if TYPE_CHECKING:
    from datasets import Dataset


class Reject(Operator):
    """Gives each row a worse answer in the column `rejected`: another row's answer, chosen by hash.

    For recipes with `output: pairs` or `unpaired`. Rows without an answer get none.
    """

    op: Literal["reject"] = "reject"
    column: Column = Field(description="The column with the right answer")

    examples: ClassVar = ({"op": "reject", "column": "label"},)
    kind: ClassVar = "combines"
    position: ClassVar = 50

    def run(self, rows: Dataset, context: OperatorContext) -> Dataset:
        values = [None if value is None else _text(value) for value in column(rows, self.column)]
        answers = sorted({value for value in values if value is not None})
        rejected = [
            None if value is None or len(answers) < 2 else _other(value, answers, rank)
            for value, rank in zip(values, ranks(rows, "reject"), strict=True)
        ]
        return with_column(rows, REJECTED, rejected)


def _other(value: str, answers: list[str], rank: int) -> str:
    own = answers.index(value)
    return answers[(own + 1 + rank % (len(answers) - 1)) % len(answers)]


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
