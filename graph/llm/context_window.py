"""The context window: estimates the length of a request and shortens old tool results if it is too long."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.messages import BaseMessage, ToolMessage

from .protocol import ModelError

MESSAGE_TOKENS, REQUEST_TOKENS, TOOLS_TOKENS = 16, 256, 1024
"""Tokens that a chat template may add: per message, per request, and for the description of tools."""

KEPT_CHARACTERS = 200
"""Characters that are kept of a shortened tool result."""

_FIRST_RATIO = 0.4  # tokens per byte before the first count; English has about 0.25, numbers and code more
_MARGIN = 1.15

REMOVED = "[the rest of this result was removed to make room]"


def max_request_tokens(request: Any, messages: int, tools: int) -> int:
    """Upper bound on the tokens of a request: one per byte of its JSON, plus what a chat template may add.

    A byte-level tokenizer, or one with byte fallback, makes at most one token per byte. The bound is about four
    times the real count for English. It is used to reserve budget, not to fill the context window.
    """
    return json_bytes(request) + MESSAGE_TOKENS * messages + REQUEST_TOKENS + (TOOLS_TOKENS if tools else 0)


def json_bytes(value: Any) -> int:
    """Bytes of a value as JSON in UTF-8."""
    return len(json.dumps(value, ensure_ascii=False, default=str).encode("utf-8", "replace"))


class ContextWindow:
    """Fits requests into `context_tokens`, of which `max_tokens` are reserved for the answer.

    Tokens are estimated from bytes. Each count reported by the server corrects the estimate.
    """

    def __init__(self, context_tokens: int, max_tokens: int) -> None:
        self.room = context_tokens - max_tokens
        self._ratio = _FIRST_RATIO

    def calibrate(self, length: int, tokens: int) -> None:
        """The server counted `tokens` in a request of `length` bytes."""
        if length > 0 and tokens > 0:
            self._ratio = min(1.0, _MARGIN * tokens / length)

    def shrink(self) -> None:
        """The server refused a request as too long: use less room from now on."""
        self.room = int(self.room * 0.6)

    def fit(
        self, messages: Sequence[BaseMessage], length: Callable[[Sequence[BaseMessage]], int]
    ) -> list[BaseMessage]:
        """The messages; the oldest tool results are shortened until `length` (bytes) fits.

        Raises ModelError if they still do not fit.
        """
        kept = list(messages)
        shortened = (place for place, message in enumerate(messages) if isinstance(message, ToolMessage))
        while (tokens := int(self._ratio * length(kept))) > self.room:
            place = next(shortened, None)
            if place is None:
                raise ModelError(
                    f"the request has about {tokens:,} tokens, but only {self.room:,} fit: raise "
                    "context_tokens if the model allows more, or lower max_tokens or memory_tokens"
                )
            kept[place] = _shortened(kept[place])
        return kept


def _shortened(message: BaseMessage) -> BaseMessage:
    text = str(message.content)
    if len(text) <= KEPT_CHARACTERS + len(REMOVED):
        return message
    return message.model_copy(update={"content": f"{text[:KEPT_CHARACTERS]}\n{REMOVED}"})
