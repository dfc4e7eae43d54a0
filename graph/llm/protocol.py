"""What agents may ask of a chat model: one turn of a conversation, answered by tool calls or by a typed answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, Protocol, TypeVar

from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.tools import BaseTool
from pydantic import BaseModel

from ...errors import TrexError
from .usage import Usage

Role = Literal["researcher", "executor"]
Answer = TypeVar("Answer", bound=BaseModel)


class ModelError(TrexError):
    """A model could not be made to answer: what happened, in one line. The run goes on without it."""


class ModelBudgetSpent(ModelError):
    """The next call may cost more than is left of the token or money budget: it was not made."""


@dataclass(frozen=True)
class ToolRequest:
    """A call of a tool that the model asks for. `id` pairs it with its result."""

    id: str
    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Turn(Generic[Answer]):
    """The model's turn: `message` goes on in the conversation; then tool calls, or the answer, or a problem.

    `problem` says in one sentence why the turn is neither (an answer that does not validate, an unknown tool,
    nothing at all): it goes back to the model with `correction`.
    """

    message: AIMessage
    tools: tuple[ToolRequest, ...] = ()
    answer: Answer | None = None
    problem: str | None = None


class Chat(Protocol):
    """A chat model in the hands of one role."""

    role: Role

    def turn(
        self,
        messages: Sequence[BaseMessage],
        answer: type[Answer],
        tools: Sequence[BaseTool] = (),
        *,
        purpose: str,
    ) -> Turn[Answer]:
        """Ask for one turn. `purpose` ('plan e003') names the call in the record.

        A request that was made before in this run, with the same purpose and messages, is answered from the
        record and costs nothing: nodes run at least once. Raises ModelError, ModelBudgetSpent.
        """
        ...

    def tool_result(self, request: ToolRequest, text: str) -> BaseMessage:
        """The message that carries a tool's result back, in the form that this model's output mode wants."""
        ...

    def correction(self, turn: Turn[Any]) -> BaseMessage:
        """The message that carries a turn's problem back."""
        ...


@dataclass(frozen=True)
class CallRecord:
    """One call in the record (`calls.jsonl` in the run directory, a line when reserved, a line when settled)."""

    id: str
    role: Role
    purpose: str
    model: str
    status: Literal["answered", "failed", "unknown"]
    """'unknown': the process ended, or the connection broke, before an answer; its whole reservation is booked."""
    tokens_in: int = 0
    tokens_out: int = 0
    cost_usd: float = 0.0
    seconds: float = 0.0
    messages: list[dict[str, str]] = field(default_factory=list)
    """What was asked: role and text of each message (new ones only, by order)."""
    answer: dict[str, Any] = field(default_factory=dict)
    """What came back: 'text', 'tools' [{name, arguments}], 'problem'."""

    @property
    def usage(self) -> Usage:
        """What the call took."""
        return Usage(1, self.tokens_in, self.tokens_out, self.cost_usd, self.seconds)
