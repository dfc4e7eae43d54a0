"""A model's response: reduced to what is stored and sent again, and what it cost."""

from __future__ import annotations

import json
from typing import Any

from langchain_core.messages import AIMessage

from ...keys import redact
from .call_spellings import MAX_DEPTH, too_deep
from .parsing import repair_json

CHARACTERS_PER_TOKEN = 16
"""More than any text has. A longer answer shows that the server ignored `max_tokens`."""

TRUNCATED = "cut"
"""Key of a message's metadata that says why the message is not complete."""

_LENGTH_REASONS = ("length", "max_tokens", "MAX_TOKENS")
_MAX_EXTRAS = 200_000  # characters; thoughts may have to be sent back whole
_REPEATED = ("tool_calls", "function_call", "parsed", "refusal")


def normalise(message: AIMessage, max_tokens: int, id: str) -> AIMessage:
    """The message in a form that does not depend on the provider: text, and tool calls with parsed arguments.

    Text beyond `max_tokens` is cut. A message that was cut, here or by the server, says so in its metadata.
    """
    text = message.text or str(message.additional_kwargs.get("refusal") or "")
    calls = [(call["name"], call["args"], call["id"]) for call in message.tool_calls]
    for broken in message.invalid_tool_calls:
        arguments = repair_json(broken.get("args") or "{}")
        if arguments is None:
            text = f"{text}\n(called {broken.get('name')} with arguments that are not JSON)".strip()
        else:
            calls.append((broken.get("name") or "", arguments, broken.get("id")))
    for name in (name for name, arguments, _ in calls if too_deep(arguments)):
        text = f"{text}\n(called {name} with arguments of more than {MAX_DEPTH} levels)".strip()
    calls = [call for call in calls if not too_deep(call[1])]
    most = CHARACTERS_PER_TOKEN * max_tokens
    length = len(text) + sum(len(json.dumps(arguments, default=str)) for _, arguments, _ in calls)
    truncated = None
    if length > most:
        text, calls = text[:most], []
        truncated = f"your answer of {length:,} characters has more than {max_tokens:,} tokens: write less"
    elif _ended_by_length(message):
        truncated = f"your answer was cut off after {max_tokens:,} tokens: write less"
    fields = {
        "content": text,
        "tool_calls": _with_ids(calls, id),
        "additional_kwargs": _extras(message),
        "response_metadata": {TRUNCATED: truncated} if truncated else {},
    }
    return AIMessage(**_plain(fields))


def message_fields(message: AIMessage) -> dict[str, Any]:
    """A normalised message as JSON fields, from which `AIMessage(**fields)` restores it."""
    names = ("content", "tool_calls", "additional_kwargs", "response_metadata")
    return {name: getattr(message, name) for name in names}


def reported_usage(message: AIMessage) -> tuple[int, int] | None:
    """The tokens read and written that the server reports; None if it reports none, or impossible numbers."""
    usage = message.usage_metadata
    if not usage:
        return None
    read, written = int(usage["input_tokens"]), int(usage["output_tokens"])
    written = max(written, int(usage.get("total_tokens") or 0) - read)  # reasoning may be in the total only
    return None if read <= 0 or written < 0 else (read, written)


def answer_bytes(message: AIMessage) -> int:
    """Bytes of all that a response says: no tokenizer makes more tokens of it."""
    calls = [*message.tool_calls, *message.invalid_tool_calls]
    try:
        said = json.dumps([message.content, calls, message.additional_kwargs], default=str)
    except (RecursionError, ValueError):
        return 0
    return len(said)


def _ended_by_length(message: AIMessage) -> bool:
    keys = ("finish_reason", "stop_reason", "done_reason")
    return any(str(message.response_metadata.get(key)) in _LENGTH_REASONS for key in keys)


def _with_ids(calls: list[tuple[str, dict[str, Any], str | None]], id: str) -> list[dict[str, Any]]:
    """Calls with unique ids: a server may give no id, or the same id to all."""
    made: list[dict[str, Any]] = []
    for place, (name, arguments, given) in enumerate(calls):
        taken = {call["id"] for call in made}
        own = given if given and given not in taken else f"{id}_{place}"
        made.append({"name": name, "args": arguments, "id": own, "type": "tool_call"})
    return made


def _extras(message: AIMessage) -> dict[str, Any]:
    """Fields that a provider needs in the next request, such as signatures of its reasoning."""
    extras = {name: value for name, value in message.additional_kwargs.items() if name not in _REPEATED}
    try:
        return extras if not too_deep(extras) and len(json.dumps(extras)) <= _MAX_EXTRAS else {}
    except (TypeError, ValueError):
        return {}


def _plain(value: Any) -> Any:
    """The value as JSON that can be written as UTF-8, without API keys."""
    text = json.dumps(value, ensure_ascii=False, default=str).encode("utf-8", "replace").decode("utf-8")
    return _redacted(json.loads(text))


def _redacted(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _redacted(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_redacted(each) for each in value]
    return redact(value) if isinstance(value, str) else value
