"""Cuts text to a length that fits a model's context, and says so in the text."""

from __future__ import annotations

from collections.abc import Iterable

MAX_RESULT = 7_500
"""Characters of a tool's whole result: below the limit at which `quoted` would cut in the middle of a line."""


def cut(text: str, most: int) -> str:
    """The text, or its first `most` characters and its length."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text)} characters)"


def brief(value: object, most: int) -> str:
    """A value in one line of at most `most` characters."""
    text = " ".join(str(value).split())
    return text if len(text) <= most else f"{text[: most - 1]}…"


def cell(value: object, most: int) -> object:
    """A value of a row for JSON: a number as it is, everything else as text of at most `most` characters."""
    return value if value is None or isinstance(value, bool | int | float) else cut(str(value), most)


def fitting(lines: Iterable[str], most: int = MAX_RESULT) -> str:
    """The lines that fit into `most` characters, and the number of those that do not."""
    every = list(lines)
    size = 0
    for place, line in enumerate(every):
        size += len(line) + 1
        if size > most:
            return "\n".join([*every[:place], f"({len(every) - place} more do not fit: ask for less)"])
    return "\n".join(every)
