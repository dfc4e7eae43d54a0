"""The context window: estimates the length of a request and shortens old tool results if it is too long."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.messages import BaseMessage, HumanMessage, ToolMessage

from .protocol import ModelError

MESSAGE_TOKENS, REQUEST_TOKENS, TOOLS_TOKENS = 16, 256, 1024
"""Tokens that a chat template may add: per message, per request, and for the description of tools."""

KEPT_CHARACTERS = 200
"""Characters that are kept of a shortened tool result."""

_FIRST_RATIO = 0.4  # tokens per byte before the first count; English has about 0.25, numbers and code more
_MARGIN = 1.15
_LEAST_RATIO, _RESERVE_MARGIN = 0.25, 1.25  # other texts of the same kind may have more tokens per byte
_LEAST_LENGTH = 256

REMOVED = "[the rest of this text was removed to make room]"


def max_request_tokens(request: Any, messages: int, tools: int) -> int:
    """Upper bound on the tokens of a request: one per byte of its JSON, plus what a chat template may add.

    A byte-level tokenizer, or one with byte fallback, makes at most one token per byte. The bound is about four
    times the real count for English. It reserves budget until the server has counted a request.
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
        self.accepted = 0
        """Bytes of the longest request that the server has accepted."""
        self._ratio = _FIRST_RATIO
        self._most: dict[str, float] = {}
        self._refused = False

    def calibrate(self, length: int, tokens: int, mode: str = "") -> None:
        """The server counted `tokens` in a request of `length` bytes."""
        self.accepted = max(self.accepted, length)
        if length > 0 and tokens > 0:
            self._ratio = min(1.0, _MARGIN * tokens / length)
            self._most[mode] = max(self._most.get(mode, _LEAST_RATIO), tokens / length)

    def bound(self, length: int, mode: str) -> int | None:
        """Tokens that a request of `length` bytes has at most, as far as counts in this output mode show.

        None before the first count.
        """
        most = self._most.get(mode)
        return None if most is None else math.ceil(_RESERVE_MARGIN * most * length)

    def shrink(self, length: int, numbers: Sequence[int] = ()) -> None:
        """The server refused a request of `length` bytes as too long: leave less room from now on.

        `numbers` are those of its error, of which the largest two may be the length and its limit.
        """
        largest = sorted({each for each in numbers if each >= _LEAST_LENGTH}, reverse=True)
        told = 0.9 * largest[1] / largest[0] if len(largest) > 1 else 1.0
        self.room = int(min(self.room, self._ratio * length) * max(0.1, min(0.6, told)))
        self._refused = True

    def fit(
        self, messages: Sequence[BaseMessage], length: Callable[[Sequence[BaseMessage]], int]
    ) -> list[BaseMessage]:
        """The messages; the oldest tool results are shortened until `length` (bytes) fits.

        After a refusal long user messages lose their middle too. Raises ModelError if they still do not fit.
        """
        kept = list(messages)
        places = [place for place, message in enumerate(messages) if isinstance(message, ToolMessage)]
        while (tokens := int(self._ratio * length(kept))) > self.room and places:
            place = places.pop(0)
            kept[place] = _shortened(kept[place])
        if tokens > self.room and self._refused:
            _cut_longest(kept, int((tokens - self.room) / self._ratio))
        elif tokens > self.room:
            raise ModelError(
                f"the request has about {tokens:,} tokens, but only {self.room:,} fit: raise "
                "context_tokens if the model allows more, or lower max_tokens or memory_tokens"
            )
        return kept


def _cut_longest(messages: list[BaseMessage], excess: int) -> None:
    """Remove `excess` characters from the middle of the longest user message; at most two thirds of it."""
    people = [place for place, message in enumerate(messages) if isinstance(message, HumanMessage)]
    place = max(people, key=lambda each: len(messages[each].text), default=None)
    if place is not None and len(text := messages[place].text) > 4 * KEPT_CHARACTERS:
        kept = max(len(text) // 3, len(text) - excess - len(REMOVED)) // 2
        messages[place] = HumanMessage(f"{text[:kept]}\n{REMOVED}\n{text[len(text) - kept :]}")


def _shortened(message: BaseMessage) -> BaseMessage:
    text = str(message.content)
    if len(text) <= KEPT_CHARACTERS + len(REMOVED):
        return message
    return message.model_copy(update={"content": f"{text[:KEPT_CHARACTERS]}\n{REMOVED}"})
