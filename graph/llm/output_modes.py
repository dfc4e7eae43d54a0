"""Three ways to ask a model for a tool or a typed answer: calls of tools, a JSON schema, or words alone.

A conversation is kept in one form: what a model calls are `tool_calls`, what tools return are `ToolMessage`s. A mode
puts it into the words of its own when it is sent, so a conversation survives a change of mode.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from .parsing import read_calls_of_tools, read_text
from .protocol import Answer, Turn
from .question import Question

NOT_CARRIED_OUT = "not carried out: see what follows"
NOTHING = "(nothing)"
"""In place of an empty message, which providers refuse."""


@dataclass(frozen=True)
class Form:
    """What is sent: messages, the tools offered, whether one must be called, the schema of what is written."""

    messages: list[BaseMessage]
    tools: list[dict[str, Any]] = field(default_factory=list)
    forced: bool = False
    schema: dict[str, Any] | None = None


class Mode(Protocol):
    """One way to ask."""

    @property
    def name(self) -> str:
        """As records call it."""
        ...

    def form(self, messages: Sequence[BaseMessage], question: Question[Any]) -> Form:
        """How the question is sent."""
        ...

    def read(self, message: AIMessage, question: Question[Answer]) -> Turn[Answer]:
        """What the answer means. Never raises."""
        ...


@dataclass(frozen=True)
class CallingMode:
    """The answer is one more tool. `forced`: the server is told that something must be called."""

    name: str
    forced: bool

    def form(self, messages: Sequence[BaseMessage], question: Question[Any]) -> Form:
        """See `Mode`."""
        return Form(_all_answered(messages), [*question.tool_forms, question.answer_form], self.forced)

    def read(self, message: AIMessage, question: Question[Answer]) -> Turn[Answer]:
        """See `Mode`."""
        return read_calls_of_tools(message, question)


@dataclass(frozen=True)
class WritingMode:
    """The model writes one JSON object, as the prompt describes it. `held`: the server holds it to the schema."""

    name: str
    held: bool

    def form(self, messages: Sequence[BaseMessage], question: Question[Any]) -> Form:
        """See `Mode`."""
        schema = question.step_schema if self.held else None
        return Form(_with_instruction(_in_words(messages), _instruction(question, self.held)), schema=schema)

    def read(self, message: AIMessage, question: Question[Answer]) -> Turn[Answer]:
        """See `Mode`."""
        return read_text(message, question)


MODES: dict[str, Mode] = {
    mode.name: mode
    for mode in (
        CallingMode("tools", forced=True),
        CallingMode("tools_unforced", forced=False),
        WritingMode("json_schema", held=True),
        WritingMode("text", held=False),
    )
}


def first_mode(output: str, profile: dict[str, Any] | None) -> str:
    """Where to begin: as the user says, or with the most that the model's profile says it can do."""
    if output != "auto":
        return output
    if not profile or profile.get("tool_calling", True):
        return "tools"
    return "json_schema" if profile.get("structured_output") else "text"


def next_mode(mode: str, output: str, only_choice: bool) -> str | None:
    """What to try when a server refuses a mode; `only_choice`: it refuses only that something must be called."""
    if mode == "tools" and only_choice:
        return "tools_unforced"
    if output != "auto":
        return None
    return {"tools": "json_schema", "tools_unforced": "json_schema", "json_schema": "text"}.get(mode)


def _all_answered(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """Each call followed by its result: providers refuse a conversation in which one is missing."""
    sent: list[BaseMessage] = []
    for place, message in enumerate(messages):
        silent = isinstance(message, AIMessage) and not message.tool_calls and not message.text.strip()
        sent.append(AIMessage(NOTHING) if silent else message)
        if isinstance(message, AIMessage) and message.tool_calls:
            answered = {m.tool_call_id for m in messages[place + 1 :] if isinstance(m, ToolMessage)}
            sent += [
                ToolMessage(NOT_CARRIED_OUT, tool_call_id=str(call["id"]), name=call["name"])
                for call in message.tool_calls
                if call["id"] not in answered
            ]
    return sent


def _in_words(messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """Calls and results as words; a person's words in a row become one message, as some chat templates want."""
    sent: list[BaseMessage] = []
    for message in messages:
        if isinstance(message, AIMessage):
            words = "\n".join([message.text, *map(_called, message.tool_calls)]).strip()
            sent.append(AIMessage(words or NOTHING))
            continue
        if isinstance(message, ToolMessage):
            message = HumanMessage(f"Result of {message.name or 'the tool'}:\n{message.text}")
        if sent and isinstance(message, HumanMessage) and isinstance(sent[-1], HumanMessage):
            message = HumanMessage(f"{sent.pop().text}\n\n{message.text}")
        sent.append(message)
    return sent


def _called(call: Any) -> str:
    return json.dumps({"tool": call["name"], "arguments": call["args"]}, ensure_ascii=False)


def _with_instruction(messages: list[BaseMessage], instruction: str) -> list[BaseMessage]:
    if messages and isinstance(messages[0], SystemMessage):
        return [SystemMessage(f"{messages[0].text}\n\n{instruction}"), *messages[1:]]
    return [SystemMessage(instruction), *messages]


def _instruction(question: Question[Any], held: bool) -> str:
    """What the model may write, and what each tool and the answer are."""
    call, answer = '{"tool": NAME, "arguments": {...}}', '{"answer": {...}}'
    if held:
        call, answer = f'{{"step": {call}}}', f'{{"step": {answer}}}'
    lines = ["Reply with one JSON object and nothing else."]
    if question.tools:
        lines += [f"To use a tool: {call}", "You then get its result. The tools:"]
        for form in question.tool_forms:
            function = form["function"]
            arguments = json.dumps(question.arguments[function["name"]], ensure_ascii=False)
            lines.append(f"- {function['name']}: {function.get('description', '')} Arguments: {arguments}")
        lines.append(f"When you are done: {answer}")
    else:
        lines.append(f"No tools can be used now. Reply with {answer}")
    why = question.answer_form["function"]["description"]
    schema = json.dumps(question.answer_schema, ensure_ascii=False)
    return "\n".join([*lines, f"{why} The answer has this JSON schema: {schema}"])
