"""What came back from a model, made small and plain enough to be kept, and what it cost."""

from __future__ import annotations

import json
from typing import Any

from langchain_core.messages import AIMessage

from ...keys import redact
from .parsing import mended
from .prices import Price
from .usage import Usage

CHARACTERS_A_TOKEN = 16
"""More than any text has; what is longer than max_tokens times this was not bounded by the server."""

CUT = "cut"
"""Where a message's metadata says that it is not whole."""

_ENDED_BY_LENGTH = ("length", "max_tokens", "MAX_TOKENS")
_KEPT_EXTRAS = 16_000
_REPEATED = ("tool_calls", "function_call", "parsed", "refusal")


def received(message: AIMessage, max_tokens: int, id: str) -> AIMessage:
    """The message without what only its provider understands: text, calls with readable arguments and ids.

    What a server sent in spite of `max_tokens` is cut, and says so; so does what `max_tokens` cut off.
    """
    text = message.text or str(message.additional_kwargs.get("refusal") or "")
    calls = [(call["name"], call["args"], call["id"]) for call in message.tool_calls]
    for broken in message.invalid_tool_calls:
        arguments = mended(broken.get("args") or "{}")
        if arguments is None:
            text = f"{text}\n(calls {broken.get('name')} with arguments that are no JSON)".strip()
        else:
            calls.append((broken.get("name") or "", arguments, broken.get("id")))
    most = CHARACTERS_A_TOKEN * max_tokens
    length = len(text) + sum(len(json.dumps(arguments, default=str)) for _, arguments, _ in calls)
    cut = None
    if length > most:
        text, calls = text[:most], []
        cut = f"your answer was {length:,} characters long, far more than {max_tokens:,} tokens: write less"
    elif _ended_by_length(message):
        cut = f"your answer was cut off after {max_tokens:,} tokens, before its end: write less"
    plain: dict[str, Any] = _plain(
        {
            "content": text,
            "tool_calls": _with_ids(calls, id),
            "additional_kwargs": _extras(message),
            "response_metadata": {CUT: cut} if cut else {},
        }
    )
    return AIMessage(**plain)


def kept(message: AIMessage) -> dict[str, Any]:
    """A received message as fields of a record, from which `AIMessage` makes it again."""
    return {
        "content": message.content,
        "tool_calls": [
            {"name": call["name"], "args": call["args"], "id": call["id"], "type": "tool_call"}
            for call in message.tool_calls
        ],
        "additional_kwargs": message.additional_kwargs,
        "response_metadata": message.response_metadata,
    }


def reported(message: AIMessage, price: Price | None) -> Usage | None:
    """What the server says the call has taken; None if it does not say, or says what cannot be."""
    usage = message.usage_metadata
    if not usage:
        return None
    read, written = int(usage["input_tokens"]), int(usage["output_tokens"])
    written = max(written, int(usage.get("total_tokens") or 0) - read)  # some count thoughts in the sum alone
    if read <= 0 or written < 0:
        return None
    return Usage(1, read, written, price.of(read, written) if price else 0.0)


def _ended_by_length(message: AIMessage) -> bool:
    told = message.response_metadata
    ends = (told.get("finish_reason"), told.get("stop_reason"), told.get("done_reason"))
    return any(str(end) in _ENDED_BY_LENGTH for end in ends)


def _with_ids(calls: list[tuple[str, dict[str, Any], str | None]], id: str) -> list[dict[str, Any]]:
    """Calls whose ids differ: a server may give none, or one to all."""
    made: list[dict[str, Any]] = []
    for place, (name, arguments, given) in enumerate(calls):
        taken = {call["id"] for call in made}
        own = given if given and given not in taken else f"{id}_{place}"
        made.append({"name": name, "args": arguments, "id": own, "type": "tool_call"})
    return made


def _extras(message: AIMessage) -> dict[str, Any]:
    """What a provider wants to have back, such as signatures of thoughts."""
    extras = {name: value for name, value in message.additional_kwargs.items() if name not in _REPEATED}
    try:
        return extras if len(json.dumps(extras)) <= _KEPT_EXTRAS else {}
    except (TypeError, ValueError):
        return {}


def _plain(value: Any) -> Any:
    """JSON, in characters that can be written, without keys."""
    text = json.dumps(value, ensure_ascii=False, default=str).encode("utf-8", "replace").decode("utf-8")
    return _redacted(json.loads(text))


def _redacted(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _redacted(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_redacted(each) for each in value]
    return redact(value) if isinstance(value, str) else value
