"""Values of the row language, and the limits that keep every evaluation small.

Values are JSON's kinds: null, true and false, numbers, text, lists, objects. Limits count work, not seconds, so that
the same row gives the same result on every machine.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

Value: TypeAlias = Any
"""None, bool, int, float, str, list of values, dict of values by text."""

MAX_TEXT = 100_000
"""Characters of a text, and of all texts in a list or an object."""
MAX_ITEMS = 10_000
"""Values in a list or an object, those inside of its values counted."""
MAX_NESTING = 16
"""Lists inside of lists."""
MAX_NUMBER = 2**63 - 1
"""Whole numbers beyond it do not fit a column."""
ROW_WORK = 50_000
"""Units of work for one row: one for each operation, value of a list, and 50 characters."""
CHARACTERS_A_UNIT = 50


class RowError(Exception):
    """An expression has no value for a row. The message says why."""


class Work:
    """Counts the work for one row."""

    def __init__(self, limit: int = ROW_WORK) -> None:
        self.left = limit
        self.limit = limit

    def spend(self, units: int) -> None:
        """Raises RowError once the limit is passed."""
        self.left -= units
        if self.left < 0:
            raise RowError(f"too much work for one row: more than {self.limit} operations")


def checked(value: Value, work: Work) -> Value:
    """A value within the limits; its size is paid for. Raises RowError."""
    if not isinstance(value, (str, list, dict)):  # a tuple is faster than a union
        _within_range(value)
        return value
    items, characters = _size(value, 0)
    work.spend(items + characters // CHARACTERS_A_UNIT)
    return value


def _within_range(value: Value) -> None:
    if isinstance(value, int) and abs(value) > MAX_NUMBER:
        raise RowError("a number is too large: more than 63 bits")
    if isinstance(value, float) and not math.isfinite(value):
        raise RowError("a number is not finite")


def _size(value: Value, depth: int) -> tuple[int, int]:
    """Values and characters in a value. Raises RowError as soon as a limit is passed."""
    if isinstance(value, str):
        if len(value) > MAX_TEXT:
            raise RowError(f"a text is too long: more than {MAX_TEXT} characters")
        return 1, len(value)
    if not isinstance(value, list | dict):
        _within_range(value)
        return 1, 0
    if depth == MAX_NESTING:
        raise RowError(f"lists are nested too deep: more than {MAX_NESTING} levels")
    items, characters = 1, 0
    for part in value.values() if isinstance(value, dict) else value:
        more_items, more_characters = _size(part, depth + 1)
        items += more_items
        characters += more_characters
        if items > MAX_ITEMS:
            raise RowError(f"a list is too long: more than {MAX_ITEMS} values")
        if characters > MAX_TEXT:
            raise RowError(f"a list holds too much text: more than {MAX_TEXT} characters")
    return items, characters


def kind(value: Value) -> str:
    """What errors call a value."""
    for name, kinds in _KINDS.items():
        if isinstance(value, kinds):
            return name
    return "null"


_KINDS: dict[str, type | tuple[type, ...]] = {
    "true or false": bool,
    "a number": (int, float),
    "text": str,
    "a list": list,
    "an object": dict,
}


def shown(value: Value) -> str:
    """A value in an error, cut."""
    text = f"{value[:40]!r}" if isinstance(value, str) else repr(value)[:40] if value is not None else "null"
    return f"{kind(value)} {text}" if value is not None else text
