"""The operator `score`: a model as a judge."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from ....errors import PlanError
from ....evaluation.data_files import printable
from ..row_table import take, with_column
from .model_step import ModelStep, Template
from .protocol import Column, OperatorContext

if TYPE_CHECKING:
    from datasets import Dataset

_NUMBER = r"(-?\d++(?:\.\d++)?)(?:\s*(?:/|out\s+of)\s*\d+(?:\.\d+)?)?"
_RANGE = r"(?:-?\d+\s*(?:[-–—]|to|\.{2,3})|out\s+of|max\.?|/)\s*-?\d+"  # 1-10, out of 10
_JOIN = (
    r"(?:\s+(?:is|of)\b)?(?:[^\w-]|-(?!\d)|(?<=\w)-){0,8}"  # a minus belongs to the number, a dash does not
)
_STATED = re.compile(
    rf"\bscore(?:\s*[(\[]\s*{_RANGE}\s*[)\]])?{_JOIN}{_NUMBER}(?!\s*[-–—]\s*\d)", re.IGNORECASE
)
_ANY = re.compile(_NUMBER, re.IGNORECASE)


class ScoreRows(ModelStep):
    """Let a model score each row by a rubric; a row whose reply states no score in the range is dropped.

    The score is what stands behind the last `Score:`, or the only number of the reply; `7/10` is 7. With `n` above 1
    it is the mean of the replies that state one.
    """

    op: Literal["score"] = "score"
    prompt: Template = Field(
        description="The rubric and what is scored, with {column}; e.g. ends with `Reply with Score: N, 1 to 10.`"
    )
    into: Column = Field(default="score", description="The column the score goes into")
    low: float = Field(default=1, description="The lowest score")
    high: float = Field(default=10, description="The highest score")
    temperature: float = Field(
        default=0.0, ge=0, le=2, description="Of sampling; a chat model of the run has its own"
    )
    max_new_tokens: int = Field(default=64, ge=1, le=4096, description="Of a reply; longer ones are cut")

    examples: ClassVar = (
        {"op": "score", "prompt": "How clear is this? {text} Reply with Score: N, 1 to 10."},
    )
    kind: ClassVar = "row-wise"
    position: ClassVar = 32

    @model_validator(mode="after")
    def _has_a_range(self) -> ScoreRows:
        if self.low >= self.high:
            raise ValueError(f"low {self.low:g} must be below high {self.high:g}")
        return self

    def run(self, rows: Dataset, context: OperatorContext) -> Dataset:
        kept, scores, nonsense = [], [], 0
        drawn = self.asked(rows, context, self.prompt, self.temperature, self.max_new_tokens)
        for index, replies in enumerate(drawn):
            values = [stated_score(reply.text, self.low, self.high) for reply in replies if reply is not None]
            found = [value for value in values if value is not None]
            nonsense += len(replies) - len(found)
            if found:
                kept.append(index)
                scores.append(sum(found) / len(found))
            else:
                texts = [reply.text for reply in replies if reply is not None]
                context.dropped.add("no score", printable(texts[0], 80) if texts else "no reply")
        if len(rows) and not kept:
            example = context.dropped.examples["no score"]
            raise PlanError(
                f"no reply states a score from {self.low:g} to {self.high:g}; the first: {example!r}; say in the "
                "prompt how to reply, e.g. `Score: 7`"
            )
        if nonsense:
            context.notes.append(f"{nonsense:,} replies state no score")
        return with_column(take(rows, kept), self.into, scores)


def stated_score(reply: str, low: float, high: float) -> float | None:
    """The score that a judge's reply states; None if it states none in the range, or several."""
    found = _STATED.findall(reply)[-1:] or _ANY.findall(reply)
    if len(found) != 1:
        return None
    value = float(found[0])
    return value if low <= value <= high else None
