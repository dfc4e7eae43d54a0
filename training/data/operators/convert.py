"""The operator `convert`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from ....errors import PlanError
from ..row_layouts import Exchange, LayoutFault, exchanges, instruction, multiple_choice
from ..row_table import KEY, arrow, require, take, visible, with_column
from .protocol import Column, Operator, OperatorContext

if TYPE_CHECKING:
    from datasets import Dataset

TURNS = {"sharegpt": "conversations", "openai": "messages"}
"""The usual column of a conversation's turns."""


class Convert(Operator):
    """Write a question and an answer from a usual layout: ShareGPT, OpenAI messages, Alpaca, multiple choice.

    Rows that are not in the layout are dropped. A conversation's question holds all turns before the answer.
    """

    op: Literal["convert"] = "convert"
    layout: Literal["sharegpt", "openai", "alpaca", "multiple_choice"] = Field(
        description="`conversations`; `messages`; `instruction`, `input`, `output`; `question`, `choices`, `answer`"
    )
    column: Column | None = Field(
        default=None, description="Where a conversation's turns are; null: the usual one"
    )
    turns: Literal["first", "last", "every"] = Field(
        default="first", description="Which exchange of a conversation; `every` makes a row for each"
    )
    question: Column = Field(default="question", description="The column the question goes into")
    answer: Column = Field(default="answer", description="The column the answer goes into")
    system: Column | None = Field(default=None, description="The column the system's turn goes into")

    examples: ClassVar = (
        {
            "op": "convert",
            "layout": "openai",
            "turns": "every",
            "question": "q",
            "answer": "a",
            "system": "s",
        },
        {"op": "convert", "layout": "sharegpt", "column": "messages", "turns": "last"},
    )
    kind: ClassVar = "expands"
    position: ClassVar = 2
    remedies: ClassVar = {"column missing": "make `{column}` from a usual layout by a convert step"}

    def run(self, rows: Dataset, context: OperatorContext) -> Dataset:
        column = self.column or TURNS.get(self.layout)
        for name in (
            [column] if column else {"alpaca": ["instruction", "output"]}.get(self.layout, ["question"])
        ):
            require(rows, name)
        table = arrow(rows)
        names = [column] if column else visible(rows.column_names)
        indices, keys, found = list[int](), list[str](), list[Exchange]()
        for index, (key, row) in enumerate(
            zip(table.column(KEY).to_pylist(), table.select(names).to_pylist(), strict=True)
        ):
            try:
                read = self._read(row, column)
            except LayoutFault as fault:
                context.dropped.add(f"not in the layout {self.layout}", str(fault))
                continue
            indices += [index] * len(read)
            keys += [key] if len(read) == 1 else [f"{key}/{place}" for place in range(len(read))]
            found += read
        if len(rows) and not indices:
            [example] = context.dropped.examples.values()
            raise PlanError(f"no row is in the layout {self.layout}; the first: {example}")
        made = with_column(take(rows, indices), self.question, [each.question for each in found])
        made = with_column(made, self.answer, [each.answer for each in found])
        if self.system is not None:
            made = with_column(made, self.system, [each.system for each in found])
        return with_column(made, KEY, keys)

    def _read(self, row: dict[str, Any], column: str | None) -> list[Exchange]:
        if column is not None:
            found = exchanges(row[column])
            return {"first": found[:1], "last": found[-1:], "every": found}[self.turns]
        return [(instruction if self.layout == "alpaca" else multiple_choice)(row)]
