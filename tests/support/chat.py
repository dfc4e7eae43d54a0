"""A chat model for tests without a server: it replies by a script or a function and records its requests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.tools import BaseTool
from pydantic import BaseModel, ValidationError
from trex.errors import explain
from trex.graph.llm.protocol import Answer, Chat, ModelError, ModelTurn, Role, ToolRequest


@dataclass(frozen=True)
class Asked:
    """One request to the model."""

    purpose: str
    messages: tuple[BaseMessage, ...]
    answer: type[BaseModel]
    tools: tuple[str, ...]

    @property
    def text(self) -> str:
        """The text of all messages, the newest last."""
        return "\n\n".join(str(message.content) for message in self.messages)

    @property
    def last(self) -> str:
        """The newest message."""
        return str(self.messages[-1].content)


@dataclass(frozen=True)
class Call:
    """A tool call of the model."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)


# A typed answer (or its fields), tool calls, or an error to raise.
Reply = BaseModel | dict[str, Any] | Call | list[Call] | Exception
Replies = Callable[[Asked], Reply] | Sequence[Reply | Callable[[Asked], Reply]]


class FakeChat:
    """See `trex.graph.llm.protocol.Chat`.

    `replies` is a function of the request, or a script with one reply per turn. A turn after the end of the script
    is an error.
    """

    def __init__(self, replies: Replies, role: Role = "researcher") -> None:
        self.role: Role = role
        self.asked: list[Asked] = []
        self._replies = replies

    def turn(
        self,
        messages: Sequence[BaseMessage],
        answer: type[Answer],
        tools: Sequence[BaseTool] = (),
        *,
        purpose: str,
    ) -> ModelTurn[Answer]:
        asked = Asked(purpose, tuple(messages), answer, tuple(tool.name for tool in tools))
        self.asked.append(asked)
        reply = self._reply(asked)
        if isinstance(reply, Exception):
            raise reply
        if isinstance(reply, Call | list):
            calls = [reply] if isinstance(reply, Call) else reply
            number = len(self.asked)
            requests = tuple(
                ToolRequest(f"t{number}.{place}", call.name, call.arguments)
                for place, call in enumerate(calls)
            )
            if unknown := [request.name for request in requests if request.name not in asked.tools]:
                return ModelTurn(AIMessage(f"calls {unknown[0]}"), problem=f"there is no tool {unknown[0]!r}")
            return ModelTurn(AIMessage(f"calls {', '.join(r.name for r in requests)}"), tools=requests)
        return _typed(reply, answer)

    def tool_result(self, request: ToolRequest, text: str) -> BaseMessage:
        return ToolMessage(text, tool_call_id=request.id, name=request.name)

    def correction(self, turn: ModelTurn[Any]) -> BaseMessage:
        return HumanMessage(f"Invalid answer: {turn.problem}")

    def of(self, purpose: str) -> list[Asked]:
        """The requests whose purpose starts with this text."""
        return [asked for asked in self.asked if asked.purpose.startswith(purpose)]

    def _reply(self, asked: Asked) -> Reply:
        if callable(self._replies):
            return self._replies(asked)
        place = len(self.asked) - 1
        if place >= len(self._replies):
            raise AssertionError(
                f"turn {place + 1} ({asked.purpose}) is not in the script: {asked.last[:2000]}"
            )
        reply = self._replies[place]
        return reply if isinstance(reply, BaseModel | Exception) or not callable(reply) else reply(asked)


def _typed(reply: BaseModel | dict[str, Any], answer: type[Answer]) -> ModelTurn[Answer]:
    fields = reply.model_dump(mode="json") if isinstance(reply, BaseModel) else reply
    try:
        typed = answer.model_validate(fields)
    except ValidationError as error:
        return ModelTurn(AIMessage(str(fields)), problem=explain(error))
    return ModelTurn(AIMessage(typed.model_dump_json()), answer=typed)


def down(asked: Asked) -> Reply:
    """A model that cannot be reached."""
    return ModelError(f"{asked.purpose}: the server answered 503 five times")


_: type[Chat] = FakeChat
