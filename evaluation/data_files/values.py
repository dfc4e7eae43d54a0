"""Values of cells: in JSON's kinds, and as the text that a prompt shows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def plain(value: Any) -> Any:
    """A value in JSON's kinds: dates, decimals and bytes become text, NaN and infinity become None."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if value == value and abs(value) != float("inf") else None
        case Mapping():
            return {str(name): plain(part) for name, part in value.items()}
        case list() | tuple():
            return [plain(part) for part in value]
        case bytes():
            return value.decode("utf-8", "replace")
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def as_text(value: Any) -> str:
    """The text of a value in a prompt, the same whatever file format held it.

    None is empty; whole numbers have no fraction (2.0 gives '2', since formats without a missing integer store
    2 so); booleans, lists and objects are JSON, without the keys that have no value.
    """
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    if isinstance(value, bool | Mapping | list | tuple):
        return json.dumps(_without_missing(value), ensure_ascii=False, default=str)
    return str(value)


def _without_missing(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _without_missing(part) for name, part in value.items() if part is not None}
    if isinstance(value, list | tuple):
        return [_without_missing(part) for part in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value
