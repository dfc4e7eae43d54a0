"""The operator `quality`."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, field_validator

from ..row_table import take, texts
from ..text_quality import RULES, failed_rule
from .protocol import Column, Operator, OperatorContext

if TYPE_CHECKING:
    from datasets import Dataset

RULE_SETS = tuple(dict.fromkeys(name.partition(".")[0] for name in RULES))


class Quality(Operator):
    """Drop rows whose text fails published quality rules (Gopher, C4, FineWeb); rows without a text are dropped."""

    op: Literal["quality"] = "quality"
    column: Column = Field(description="The text column")
    rules: tuple[str, ...] = Field(
        default=("gopher_repetition",),
        min_length=1,
        description=f"Sets ({', '.join(RULE_SETS)}) or single rules such as gopher.symbols",
    )
    without: tuple[str, ...] = Field(default=(), description="Rules of these sets that are left out")

    examples: ClassVar = (
        {"op": "quality", "column": "text", "rules": ["gopher.symbols", "c4.lorem_ipsum", "fineweb"],
         "without": ["fineweb.short_lines", "fineweb.line_ends"]},
    )  # fmt: skip
    kind: ClassVar = "selects"
    position: ClassVar = 25
    cleaning: ClassVar = "quality"
    relax_order: ClassVar = 0

    @field_validator("rules", "without")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in RULES and name not in RULE_SETS:
                raise ValueError(f"no quality rule {name!r}; there are: {', '.join((*RULE_SETS, *RULES))}")
        return names

    @property
    def applied(self) -> list[str]:
        """The single rules."""
        left_out = set(self.without)
        chosen = (name for name in RULES if {name, name.partition(".")[0]} & set(self.rules))
        return [name for name in chosen if not {name, name.partition(".")[0]} & left_out]

    def run(self, rows: Dataset, context: OperatorContext) -> Dataset:
        kept = []
        names = self.applied
        for index, text in enumerate(texts(rows, self.column)):
            fault = "no text" if text is None else failed_rule(text, names)
            if fault is None:
                kept.append(index)
            else:
                context.dropped.add(fault, (text or "")[:80])
        return take(rows, kept)
