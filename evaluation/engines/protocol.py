"""What an inference engine does: it makes answers from a base model, with or without an adapter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from ..conversations import Message
from ..task import GenerationSettings, RenderingOptions


@dataclass(frozen=True)
class Completion:
    """An answer. `truncated`: it reached the token limit before the model ended its turn."""

    text: str
    truncated: bool = False


@dataclass(frozen=True)
class Sampling:
    """How several answers to one conversation are drawn: from the tokens with the total probability `top_p`, after the
    logits are divided by `temperature`. Answers have the numbers `first` to `first + n - 1`."""

    n: int
    temperature: float = 0.8
    top_p: float = 1.0
    seed: int = 0
    first: int = 0


@dataclass(frozen=True)
class AnswerLikelihood:
    """The natural logarithm of an answer's probability, and its number of tokens. No tokens: it was not rendered."""

    log_probability: float
    tokens: int


@runtime_checkable
class InferenceEngine(Protocol):
    """A base model that answers conversations. `adapter` is a folder of trained weights, a LoRA adapter
    or a whole model; None is the base model.

    Answers come in the order of the conversations, one for each. The same call gives the same answers, whatever
    was asked before and however conversations are grouped into batches. After a call with an adapter the base
    model is as it was. Both methods raise InputError if the base model cannot be loaded, and IntegrityError for
    an adapter that is damaged or not made for it.
    """

    @property
    def precision(self) -> str:
        """The number format of the computation, e.g. 'float32': scores of different formats are not compared."""

    def load(self) -> None:
        """Read the weights; further calls return at once. `choose` and `generate` load by themselves."""

    def choose(
        self,
        conversations: Sequence[Sequence[Message]],
        choices: Sequence[str],
        settings: GenerationSettings,
        adapter: Path | None = None,
    ) -> Sequence[Completion]:
        """For each conversation the choice with the highest log-likelihood as the assistant's turn.

        The likelihood is the product over the choice's tokens, not normalised by length. Equal likelihoods: the
        first choice.
        """

    def generate(
        self,
        conversations: Sequence[Sequence[Message]],
        settings: GenerationSettings,
        adapter: Path | None = None,
        choices: Sequence[str] | None = None,
    ) -> Sequence[Completion]:
        """Greedy answers without special tokens, at most `settings.max_new_tokens` long.

        With `choices` an engine may stop a few tokens after the longest choice, since the rest is not read.
        """

    def sample(
        self,
        conversations: Sequence[Sequence[Message]],
        settings: GenerationSettings,
        sampling: Sampling,
        adapter: Path | None = None,
    ) -> Sequence[Sequence[Completion]]:
        """For each conversation `sampling.n` answers drawn at random, otherwise like `generate`.

        The seed decides the draws, for each conversation and the number of each answer independently of all others.
        """

    def likelihoods(
        self,
        conversations: Sequence[Sequence[Message]],
        adapter: Path | None = None,
    ) -> Sequence[AnswerLikelihood]:
        """How likely the model holds the last turn of each conversation, the end of the turn included."""


class OpenEngine(Protocol):
    """What the registry holds: a class or function that makes an engine. It must be light; `load` does the work."""

    def __call__(self, base_model: Path, threads: int, rendering: RenderingOptions) -> InferenceEngine:
        """An engine for the model in the directory `base_model`, with at most that many CPU threads."""
