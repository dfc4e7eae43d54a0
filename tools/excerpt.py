"""Texts cut to what a model can read, and saying so."""

from __future__ import annotations

from collections.abc import Iterable

LONGEST = 7_500
"""Characters of a tool's whole result: below the limit at which `quoted` would cut without sense."""


def cut(text: str, most: int) -> str:
    """The text, or its first `most` characters and how long it is."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text)} characters)"


def brief(value: object, most: int) -> str:
    """A value in one line of at most `most` characters."""
    text = " ".join(str(value).split())
    return text if len(text) <= most else f"{text[: most - 1]}…"


def fitting(lines: Iterable[str], most: int = LONGEST) -> str:
    """The lines that fit into `most` characters together, and how many do not."""
    every = list(lines)
    size = 0
    for place, line in enumerate(every):
        size += len(line) + 1
        if size > most:
            return "\n".join([*every[:place], f"({len(every) - place} more do not fit: ask for less)"])
    return "\n".join(every)
