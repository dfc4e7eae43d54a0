"""What a model is for an operator: it draws answers to conversations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ....evaluation.conversations import Message

POLICY, LLM = "policy", "llm"


@dataclass(frozen=True)
class ModelChoice:
    """Which model a step uses: `policy` (the task's base model), `llm`, or the directory of another base model.

    `weights`: trained weights of the policy, a folder; None: the base model.
    """

    model: str
    weights: str | None = None


@dataclass(frozen=True)
class Draws:
    """How answers are drawn. Temperature 0 takes the most likely token."""

    temperature: float
    top_p: float
    max_new_tokens: int
    max_prompt_tokens: int
    seed: int


@dataclass(frozen=True)
class DrawnAnswer:
    """An answer without white space at its ends. `cut`: it reached the limit of tokens before its end."""

    text: str
    cut: bool = False


@dataclass(frozen=True)
class Drawing:
    """For each conversation its answers, None for one that the model did not give, and the tokens of all calls.

    `stopped` says why no further answer can be had, such as at the end of a budget.
    """

    answers: list[list[DrawnAnswer | None]]
    tokens_in: int = 0
    tokens_out: int = 0
    stopped: str | None = None


class TextModel(Protocol):
    """A model that answers conversations; see `engine_model` for one in this process."""

    @property
    def identity(self) -> str:
        """A hash of all that determines its answers besides conversation and `Draws`."""

    @property
    def calls_at_once(self) -> int:
        """Answers drawn together; after each lot the answers are stored."""

    def draw(self, conversations: Sequence[Sequence[Message]], numbers: range, draws: Draws) -> Drawing:
        """Answers of these numbers to each conversation; a number and the seed decide an answer.

        Raises PlanError for a model that cannot be used.
        """

    def close(self) -> None:
        """Release its memory; the next call loads it again."""
