"""An agent's conversation as plain JSON: what a checkpoint holds, a person edits, and a chat model is sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from .responses import message_fields

# By id; ids sort as the conversation goes. Not a list: LangGraph makes messages of message-like dicts in lists.
Messages = dict[str, dict[str, Any]]

_KINDS: dict[str, type[BaseMessage]] = {
    "system": SystemMessage,
    "human": HumanMessage,
    "ai": AIMessage,
    "tool": ToolMessage,
}


def as_json(messages: Sequence[BaseMessage], first: int = 0) -> Messages:
    """The messages as JSON, where `first` messages are known."""
    return {
        f"m{place:03d}": {"type": message.type, **_fields(message)}
        for place, message in enumerate(messages, start=first)
    }


def from_json(messages: Mapping[str, Mapping[str, Any]]) -> list[BaseMessage]:
    """The messages of `as_json`, also after a person has edited them. Raises KeyError, ValueError, TypeError."""
    return [
        _KINDS[fields["type"]](**{name: value for name, value in fields.items() if name != "type"})
        for _, fields in sorted(messages.items())
    ]


def merge_messages(messages: Messages | None, writes: Sequence[Messages]) -> Messages:
    """The conversation after these writes: fields of a known message replace its own, other messages are added."""
    merged = dict(messages or {})
    for write in writes:
        merged |= {id: merged.get(id, {}) | fields for id, fields in write.items()}
    return merged


def _fields(message: BaseMessage) -> dict[str, Any]:
    if isinstance(message, AIMessage):
        return {name: value for name, value in message_fields(message).items() if value or name == "content"}
    if isinstance(message, ToolMessage):
        return {"content": message.content, "tool_call_id": message.tool_call_id, "name": message.name}
    return {"content": message.content}
