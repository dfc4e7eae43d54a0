"""The interface of a chat model: one turn of a conversation gives tool calls or a typed answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, Protocol, TypeVar

from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.tools import BaseTool
from pydantic import BaseModel

from ...errors import InputError, TrexError
from .usage import Usage

Role = Literal["researcher", "executor", "judge"]
Answer = TypeVar("Answer", bound=BaseModel)


class ModelError(TrexError):
    """A model gave no usable answer; the message says why in one line. The run continues without it."""


class ModelRefused(ModelError, InputError):
    """The first call of a run was refused: name, key, address or settings of the model are wrong."""


class ModelBudgetSpent(ModelError):
    """The next call may cost more than is left of the token or cost budget: it was not made."""


@dataclass(frozen=True)
class ToolRequest:
    """A tool call that the model asks for. `id` links it to its result."""

    id: str
    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class ModelTurn(Generic[Answer]):
    """One turn of the model: its `message`, and either tool calls, an answer or a problem.

    `problem` says in one sentence what is wrong (an invalid answer, an unknown tool, an empty message).
    `Chat.correction` sends it back to the model.
    """

    message: AIMessage
    tools: tuple[ToolRequest, ...] = ()
    answer: Answer | None = None
    problem: str | None = None


class Chat(Protocol):
    """A chat model, used by one role."""

    role: Role

    def turn(
        self,
        messages: Sequence[BaseMessage],
        answer: type[Answer],
        tools: Sequence[BaseTool] = (),
        *,
        purpose: str,
    ) -> ModelTurn[Answer]:
        """Ask for one turn. `purpose` ('plan e003') names the call in the record.

        A request with the same purpose and messages as an earlier one of this run is answered from the record
        and costs nothing, since a graph node may run more than once. Raises ModelError, ModelBudgetSpent.
        """

    def tool_result(self, request: ToolRequest, text: str) -> BaseMessage:
        """The message that gives a tool's result to the model."""

    def correction(self, turn: ModelTurn[Any]) -> BaseMessage:
        """The message that tells the model the problem of its turn."""


@dataclass(frozen=True)
class CallRecord:
    """One call in the record (`calls.jsonl` in the run directory: a line when reserved, a line when settled)."""

    id: str
    role: Role
    purpose: str
    model: str
    status: Literal["answered", "failed", "unknown"]
    """'unknown': the process or the connection ended before an answer; the whole reservation counts as spent."""
    tokens_in: int = 0
    tokens_out: int = 0
    cost_usd: float = 0.0
    seconds: float = 0.0
    messages: list[dict[str, str]] = field(default_factory=list)
    """Role and text of each message of the request, without those of earlier requests."""
    answer: dict[str, Any] = field(default_factory=dict)
    """The response: 'text', 'tools' [{name, arguments}], 'problem'."""

    @property
    def usage(self) -> Usage:
        """What the call took."""
        return Usage(1, self.tokens_in, self.tokens_out, self.cost_usd, self.seconds)
