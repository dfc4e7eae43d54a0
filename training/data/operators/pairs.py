"""The operator `pairs`."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from ..row_table import KEY, REJECTED, STREAM, column, numbers, take, texts, with_column
from .protocol import Column, Operator, OperatorContext

if TYPE_CHECKING:
    from datasets import Dataset


class Pairs(Operator):
    """Make preference pairs of the answers that `generate` drew for one row: a better and a worse one by their score.

    The worse answer goes into the column `rejected`, for recipes with `output: pairs`. Rows without a partner are
    dropped. The worst answer is paired with the best, the second worst with the second best.
    """

    op: Literal["pairs"] = "pairs"
    column: Column = Field(description="The column with the answers")
    score: Column = Field(description="The column with their scores")
    margin: float = Field(default=0.01, gt=0, description="Smallest difference of the scores of a pair")
    per_row: int = Field(default=1, ge=1, le=32, description="Pairs made of the answers to one row at most")

    examples: ClassVar = ({"op": "pairs", "column": "text", "score": "rating"},)
    kind: ClassVar = "combines"
    position: ClassVar = 50

    def run(self, rows: Dataset, context: OperatorContext) -> Dataset:
        keys, streams, answers = column(rows, KEY), column(rows, STREAM), texts(rows, self.column)
        groups: dict[tuple[str, str], list[tuple[float, str, int]]] = {}
        for index, score in enumerate(numbers(rows, self.score)):
            if score is None or not answers[index]:
                context.dropped.add("no score" if score is None else "no answer")
                continue
            group = (streams[index], keys[index].rpartition("/")[0] or keys[index])
            groups.setdefault(group, []).append((score, keys[index], index))
        partner: dict[int, str | None] = {}
        for found in groups.values():
            best = sorted(found, key=lambda each: (-each[0], each[1]))
            worst = best[::-1]
            for (high, _, better), (low, _, worse) in list(zip(best, worst, strict=True))[: self.per_row]:
                if high - low >= self.margin and answers[better] != answers[worse]:
                    partner[better] = answers[worse]
        lost = sum(map(len, groups.values())) - len(partner)
        if lost:
            context.dropped.add("worse, or without a partner", rows=lost)
        kept = sorted(partner)
        return with_column(take(rows, kept), REJECTED, [partner[index] for index in kept])
