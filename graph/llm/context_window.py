"""The context window: how long a request is, and what is left out of it if it is too long."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.messages import BaseMessage, ToolMessage

from .protocol import ModelError

MESSAGE_TOKENS, REQUEST_TOKENS, TOOLS_TOKENS = 16, 256, 1024
"""What a chat template may add to the words: around a message, around all of them, as an introduction to tools."""

KEPT = 200
"""Characters that stay of a tool's result that is left out."""

_FIRST_RATIO = (
    0.4  # tokens a byte, before the server has counted: English has about 0.25, numbers and code more
)
_MARGIN = 1.15

LEFT_OUT = "[the rest of this result was left out to make room]"


def most_tokens(request: Any, messages: int, tools: int) -> int:
    """An upper bound on the tokens of a request: one a byte of its JSON, and what a chat template may add.

    A tokenizer that works on bytes, or falls back on them, makes no more tokens than there are bytes. The bound
    is about four times what English text takes: it is for money, not for the context window.
    """
    return bytes_of(request) + MESSAGE_TOKENS * messages + REQUEST_TOKENS + (TOOLS_TOKENS if tools else 0)


def bytes_of(value: Any) -> int:
    """Bytes of a value as JSON in UTF-8."""
    return len(json.dumps(value, ensure_ascii=False, default=str).encode("utf-8", "replace"))


class Window:
    """What fits a context window of `context_tokens`, the answer's `max_tokens` included.

    Lengths are estimated by bytes; what the server counts of each request corrects the estimate.
    """

    def __init__(self, context_tokens: int, max_tokens: int) -> None:
        self.room = context_tokens - max_tokens
        self._ratio = _FIRST_RATIO

    def learn(self, length: int, tokens: int) -> None:
        """The server counted `tokens` in a request of `length` bytes."""
        if length > 0 and tokens > 0:
            self._ratio = min(1.0, _MARGIN * tokens / length)

    def shrink(self) -> None:
        """The server found too long what was thought to fit."""
        self.room = int(self.room * 0.6)

    def fit(
        self, messages: Sequence[BaseMessage], length: Callable[[Sequence[BaseMessage]], int]
    ) -> list[BaseMessage]:
        """The messages, with the oldest results of tools shortened until `length` (bytes) fits.

        Raises ModelError if that is not enough.
        """
        kept = list(messages)
        shortened = (place for place, message in enumerate(messages) if isinstance(message, ToolMessage))
        while (tokens := int(self._ratio * length(kept))) > self.room:
            place = next(shortened, None)
            if place is None:
                raise ModelError(
                    f"the request has about {tokens:,} tokens and there is room for {self.room:,}: raise "
                    "context_tokens if the model can take more, or lower max_tokens or memory_tokens"
                )
            kept[place] = _shortened(kept[place])
        return kept


def _shortened(message: BaseMessage) -> BaseMessage:
    text = str(message.content)
    if len(text) <= KEPT + len(LEFT_OUT):
        return message
    return message.model_copy(update={"content": f"{text[:KEPT]}\n{LEFT_OUT}"})
