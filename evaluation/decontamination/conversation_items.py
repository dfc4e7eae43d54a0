"""Items that are conversations, in the form in which the gate compares items: a row of texts."""

from __future__ import annotations

from collections.abc import Sequence

from ..task import Item, Prompt
from .normal_form import word_count

_LONG_TURN = 10
"""A user turn of at least so many words identifies its conversation; a shorter one may be said in many."""
_PROMPT = Prompt(system="{system}", user="{question}", answer="{reference}")


def as_texts(items: Sequence[Item], prompt: Prompt) -> tuple[Sequence[Item], Prompt]:
    """Items and prompt as they are, but for a prompt of whole conversations.

    Such an item becomes the text of its system turn, the text of all other turns before the answer, and its long user
    turns, with a prompt that shows the first two.
    """
    return ([_texts(item, prompt) for item in items], _PROMPT) if prompt.messages else (items, prompt)


def _texts(item: Item, prompt: Prompt) -> Item:
    turns = prompt.turns(item)
    users = [turn["content"] for turn in turns if turn["role"] == "user"]
    return {
        "id": item.get("id"),
        "reference": item.get("reference"),
        "system": "\n".join(turn["content"] for turn in turns if turn["role"] == "system"),
        "question": "\n".join(turn["content"] for turn in turns if turn["role"] != "system"),
        "turns": [text for text in users if word_count(text) >= _LONG_TURN],
    }
