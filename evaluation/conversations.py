"""Conversations as data files hold them, with their turns checked.

Two forms are read: `role` and `content` (OpenAI), and `from` and `value` (ShareGPT). A cell holds a list of turns or
its JSON text. Turns after the assistant's last one are left out: nothing answers them.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ..errors import InputError
from .data_files.values import as_text, plain

Message = dict[str, Any]
"""A turn of a conversation: `role` and `content`, perhaps `tool_calls`; the first one may carry `tools`."""
TurnFault = Literal[
    "no conversation",
    "unknown role",
    "empty turn",
    "two turns of one role",
    "no assistant turn",
    "no question",
]

_ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
    "function_response": "tool",
}
_CALL_ROLE = "function_call"  # in ShareGPT's form a call is a turn of its own, its value JSON
_KEPT = ("tool_call_id", "name")  # of a tool's turn


class BadConversation(InputError):
    """A cell that holds no usable conversation."""

    def __init__(self, reason: TurnFault, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def read_conversation(cells: Sequence[Any]) -> list[Message]:
    """The turns of one or more cells, joined; the last turn is the assistant's. Raises BadConversation.

    Where there are several cells, one that is plain text is a turn of its own: the user's in the first cell, else the
    assistant's, as in files of prompt and completion.
    """
    turns: list[Message] = []
    for place, cell in enumerate(cells):
        alone = None if len(cells) == 1 else "assistant" if place else "user"
        turns += [_turn(part, len(turns) + at) for at, part in enumerate(_parts(cell, alone), start=1)]
    if not turns:
        raise BadConversation("no conversation", "empty")
    turns = [turn for turn in turns if turn["role"] != "system" or turn["content"].strip()]
    last = max((at for at, turn in enumerate(turns) if turn["role"] == "assistant"), default=None)
    if last is None:
        raise BadConversation("no assistant turn", f"roles {', '.join(turn['role'] for turn in turns)}")
    turns = turns[: last + 1]
    _check(turns)
    return turns


def read_tools(cell: Any) -> list[Any]:
    """Definitions of tools from a cell: a list or its JSON text; none of anything else."""
    found = _json(cell) if isinstance(cell, str) else cell
    return [plain(_without_missing(tool)) for tool in found] if isinstance(found, list | tuple) else []


def answer_text(turn: Message) -> str:
    """The text of an assistant turn; its tool calls as JSON if it has no text."""
    if turn["content"] or "tool_calls" not in turn:
        return str(turn["content"])
    return json.dumps([call.get("function", call) for call in turn["tool_calls"]], ensure_ascii=False)


def _parts(cell: Any, role: str | None) -> Sequence[Any]:
    """The turns in a cell as they are. `role` is that of a cell of plain text; None: it is no conversation."""
    found = _json(cell) if isinstance(cell, str) else cell
    if isinstance(found, Mapping):
        inner = next((found[name] for name in ("messages", "conversations") if name in found), None)
        found = [found] if inner is None else inner
    if isinstance(found, list | tuple) and _are_turns(found):
        return found
    text = as_text(cell)
    if not text.strip():
        return []
    if role is None:
        shown = text if len(text) <= 40 else f"{text[:40]}…"
        raise BadConversation("no conversation", f"{shown!r} is no list of turns")
    return [{"role": role, "content": text}]


def _are_turns(parts: Sequence[Any]) -> bool:
    if not all(isinstance(part, Mapping) for part in parts):
        return False
    return not parts or any(part.keys() & {"role", "from"} for part in parts)


def _json(text: str) -> Any:
    if not text.lstrip().startswith(("[", "{")):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _turn(part: Mapping[str, Any], number: int) -> Message:
    given = part.get("role", part.get("from"))
    name = str(given).strip().casefold()
    if name == _CALL_ROLE:
        calls = _json(str(part.get("value", part.get("content")) or ""))
        if not calls:
            raise BadConversation("empty turn", f"turn {number}: a function call that is no JSON")
        calls = calls if isinstance(calls, list) else [calls]
        return {"role": "assistant", "content": "", "tool_calls": [_call(call) for call in calls]}
    role = _ROLES.get(name)
    if role is None:
        raise BadConversation("unknown role", f"turn {number}: role {given!r}")
    turn: Message = {
        "role": role,
        "content": _content(part["content"] if "content" in part else part.get("value"), number),
    }
    if role == "assistant" and part.get("tool_calls"):
        turn["tool_calls"] = [_call(call) for call in read_tools(part["tool_calls"])]
    if role == "tool":
        turn |= {key: as_text(part[key]) for key in _KEPT if part.get(key) is not None}
    return turn


def _content(content: Any, number: int) -> str:
    """The text of a turn: a text, or a list of parts that are texts."""
    if isinstance(content, list | tuple):
        other = [part for part in content if not isinstance(part, str) and not _is_text(part)]
        if other:
            kind = other[0].get("type") if isinstance(other[0], Mapping) else type(other[0]).__name__
            raise BadConversation("no conversation", f"turn {number}: a part of type {kind!r} is no text")
        return "".join(part if isinstance(part, str) else str(part["text"]) for part in content)
    return as_text(content)


def _is_text(part: Any) -> bool:
    return isinstance(part, Mapping) and part.get("type", "text") == "text" and part.get("text") is not None


def _call(call: Any) -> Message:
    """A tool call in OpenAI's form, its arguments an object: so chat templates take them."""
    inner = dict(call.get("function") or call) if isinstance(call, Mapping) else {"name": as_text(call)}
    arguments = inner.get("arguments", {})
    read = _json(arguments) if isinstance(arguments, str) else arguments
    function = {"name": as_text(inner.get("name")), "arguments": arguments if read is None else read}
    identity = {"id": call["id"]} if isinstance(call, Mapping) and call.get("id") else {}
    return {**identity, "type": "function", "function": plain(_without_missing(function))}


def _without_missing(value: Any) -> Any:
    """A value without the keys that have none: tables of other rows give them."""
    if isinstance(value, Mapping):
        return {name: _without_missing(part) for name, part in value.items() if part is not None}
    return [_without_missing(part) for part in value] if isinstance(value, list | tuple) else value


def _check(turns: Sequence[Message]) -> None:
    for number, turn in enumerate(turns, start=1):
        if not turn["content"].strip() and turn["role"] != "tool" and "tool_calls" not in turn:
            raise BadConversation("empty turn", f"turn {number}: {turn['role']} says nothing")
    for number, (one, other) in enumerate(itertools.pairwise(turns), start=1):
        if one["role"] == other["role"] != "tool":
            raise BadConversation("two turns of one role", f"turns {number} and {number + 1}: {one['role']}")
    if not any(turn["role"] in ("user", "tool") for turn in turns[:-1]):
        raise BadConversation("no question", "no user turn before the assistant's")
