"""What a judge, a language model outside of the grader, is asked about answers, and what it replies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field

from ...errors import TrexError
from ...files import fingerprint
from ..task import Item


@dataclass(frozen=True)
class JudgedAnswer:
    """An answer to be judged: the item, the question as the model was asked, and the base model's answer."""

    item: Item
    question: str
    answer: str
    base_answer: str


class JudgeQuestion(BaseModel):
    """One call of the judge: the texts of a system and a user turn, and the verdicts it may choose from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    system: str
    user: str
    verdicts: tuple[str, ...]
    repeat: int = Field(default=0, ge=0, description="Asked again, to measure the judge's noise, if not 0")

    @property
    def key(self) -> str:
        """Equal for equal questions."""
        return fingerprint(self.model_dump())


class JudgeReply(BaseModel):
    """A verdict, or why there is none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    verdict: str | None = None
    problem: str = ""


JUDGE_FIGURES = ("unjudged", "order_conflicts", "judge_agreement", "judge_error")
"""Secondary figures of a judged metric."""

Verdicts = Sequence[str | None]
"""The verdicts on one answer, in the order of its questions; None where the judge gave none."""

Ask = Callable[[Sequence[JudgeQuestion], int], list[JudgeReply]]
"""Asks a judge. After more than so many questions without a verdict the rest is not asked."""


class JudgeSpent(TrexError):
    """The budget does not allow to ask a judge any more, or leaves only what the end of the run will take."""


class TooManyUnjudged(TrexError):
    """A judge gave no verdict on more items than the metric allows: there is no score."""


class Judge(Protocol):
    """A language model that is asked for verdicts. The process of the run holds it, never the grader."""

    @property
    def name(self) -> str:
        """'provider:model', part of what makes scores comparable."""
        ...

    def ask(
        self, questions: Sequence[JudgeQuestion], allowed: int, searching: bool = False
    ) -> list[JudgeReply]:
        """A reply for each question, also where there is no verdict; see `Ask`. `searching` leaves enough for the end.

        Raises JudgeSpent.
        """
        ...

    def close(self) -> None:
        """End the calls that are waiting."""
        ...


def fenced(text: str, mark: str) -> str:
    """A text between markers, as data."""
    return f"<data {mark}>\n{text}\n</data {mark}>"


def fence_mark(*texts: str) -> str:
    """A marker that the texts cannot contain on purpose: it is a hash of them."""
    return fingerprint(list(texts))[:16]
