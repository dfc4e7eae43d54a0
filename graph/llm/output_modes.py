"""Three output modes: native tool calls, JSON constrained by a schema, or JSON asked for in the prompt.

A conversation is stored in one format: `tool_calls` and `ToolMessage`s. A mode converts it when it is sent, so a
conversation can continue after a change of mode.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from .output_request import OutputRequest
from .parsing import parse_text, parse_tool_calls
from .protocol import Answer, ModelTurn

NOT_RUN = "not run: see the next message"
EMPTY = "(empty)"
"""Replaces an empty message, which providers refuse."""


@dataclass(frozen=True)
class ModelInput:
    """What is sent to the model. `forced`: it must call a tool. `schema`: its text must fit this JSON schema."""

    messages: list[BaseMessage]
    tools: list[dict[str, Any]] = field(default_factory=list)
    forced: bool = False
    schema: dict[str, Any] | None = None


class Mode(Protocol):
    """One output mode."""

    @property
    def name(self) -> str:
        """Name in records and settings."""

    def prepare(self, messages: Sequence[BaseMessage], request: OutputRequest[Any]) -> ModelInput:
        """The input that is sent for a request."""

    def parse(self, message: AIMessage, request: OutputRequest[Answer]) -> ModelTurn[Answer]:
        """The turn that a response stands for. Never raises."""


@dataclass(frozen=True)
class ToolCallMode:
    """The answer is given by a tool call. `forced`: the request says that a tool must be called."""

    name: str
    forced: bool

    def prepare(self, messages: Sequence[BaseMessage], request: OutputRequest[Any]) -> ModelInput:
        """See `Mode`."""
        return ModelInput(_all_answered(messages), [*request.tool_forms, request.answer_form], self.forced)

    def parse(self, message: AIMessage, request: OutputRequest[Answer]) -> ModelTurn[Answer]:
        """See `Mode`."""
        return parse_tool_calls(message, request)


@dataclass(frozen=True)
class JsonMode:
    """The model writes one JSON object. `constrained`: the server enforces the schema, else only the prompt asks."""

    name: str
    constrained: bool

    def prepare(self, messages: Sequence[BaseMessage], request: OutputRequest[Any]) -> ModelInput:
        """See `Mode`."""
        instruction = _instruction(request, self.constrained)
        schema = request.step_schema if self.constrained else None
        return ModelInput(_with_instruction(_as_text(messages), instruction), schema=schema)

    def parse(self, message: AIMessage, request: OutputRequest[Answer]) -> ModelTurn[Answer]:
        """See `Mode`."""
        return parse_text(message, request)


MODES: dict[str, Mode] = {
    mode.name: mode
    for mode in (
        ToolCallMode("tools", forced=True),
        ToolCallMode("tools_unforced", forced=False),
        JsonMode("json_schema", constrained=True),
        JsonMode("text", constrained=False),
    )
}


def first_mode(output: str, profile: dict[str, Any] | None) -> str:
    """The user's mode; for 'auto' the most capable mode that the model's profile lists."""
    if output != "auto":
        return output
    if not profile or profile.get("tool_calling", True):
        return "tools"
    return "json_schema" if profile.get("structured_output") else "text"


def next_mode(mode: str, output: str, only_choice: bool) -> str | None:
    """The mode to try after a refusal, None if there is none. `only_choice`: only forced tool calls were refused."""
    if mode == "tools" and only_choice:
        return "tools_unforced"
    if output != "auto":
        return None
    return {"tools": "json_schema", "tools_unforced": "json_schema", "json_schema": "text"}.get(mode)


def _all_answered(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """Add a result to each call that has none, and give the result of a call that was text as text.

    Providers refuse a conversation with an unanswered call, or with a result without a call.
    """
    sent: list[BaseMessage] = []
    called: set[str] = set()
    for place, message in enumerate(messages):
        if isinstance(message, ToolMessage) and message.tool_call_id not in called:
            message = _result(message)
            if sent and isinstance(sent[-1], HumanMessage):
                message = HumanMessage(f"{sent.pop().text}\n\n{message.text}")
        if isinstance(message, AIMessage) and not message.tool_calls and not message.text.strip():
            message = AIMessage(EMPTY, additional_kwargs=message.additional_kwargs)
        sent.append(message)
        if isinstance(message, AIMessage) and message.tool_calls:
            called |= {str(call["id"]) for call in message.tool_calls}
            answered = {m.tool_call_id for m in messages[place + 1 :] if isinstance(m, ToolMessage)}
            sent += [
                ToolMessage(NOT_RUN, tool_call_id=str(call["id"]), name=call["name"])
                for call in message.tool_calls
                if call["id"] not in answered
            ]
    return sent


def _as_text(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """Tool calls and results as text. Consecutive user messages are joined, as some chat templates require."""
    sent: list[BaseMessage] = []
    for message in messages:
        if isinstance(message, AIMessage):
            text = "\n".join([message.text, *map(_call_text, message.tool_calls)]).strip()
            sent.append(AIMessage(text or EMPTY, additional_kwargs=message.additional_kwargs))
            continue
        if isinstance(message, ToolMessage):
            message = _result(message)
        if sent and isinstance(message, HumanMessage) and isinstance(sent[-1], HumanMessage):
            message = HumanMessage(f"{sent.pop().text}\n\n{message.text}")
        sent.append(message)
    return sent


def _result(message: ToolMessage) -> HumanMessage:
    return HumanMessage(f"Result of {message.name or 'the tool'}:\n{message.text}")


def _call_text(call: Any) -> str:
    return json.dumps({"tool": call["name"], "arguments": call["args"]}, ensure_ascii=False)


def _with_instruction(messages: list[BaseMessage], instruction: str) -> list[BaseMessage]:
    if messages and isinstance(messages[0], SystemMessage):
        return [SystemMessage(f"{messages[0].text}\n\n{instruction}"), *messages[1:]]
    return [SystemMessage(instruction), *messages]


def _instruction(request: OutputRequest[Any], constrained: bool) -> str:
    """Describes the JSON object to write, the tools and the answer."""
    call, answer = '{"tool": NAME, "arguments": {...}}', '{"answer": {...}}'
    if constrained:
        call, answer = f'{{"step": {call}}}', f'{{"step": {answer}}}'
    lines = ["Reply with one JSON object and nothing else."]
    if request.tools:
        lines += [f"To use a tool: {call}", "You then get its result. The tools:"]
        for form in request.tool_forms:
            function = form["function"]
            arguments = json.dumps(request.arguments[function["name"]], ensure_ascii=False)
            lines.append(f"- {function['name']}: {function.get('description', '')} Arguments: {arguments}")
        lines.append(f"When you are done: {answer}")
    else:
        lines.append(f"No tools can be used now. Reply with {answer}")
    why = request.answer_form["function"]["description"]
    schema = json.dumps(request.answer_schema, ensure_ascii=False)
    return "\n".join([*lines, f"{why} The answer has this JSON schema: {schema}"])
