"""What a metric reads of a row; its errors name the row and the column, on one short line."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import InputError

_IDENTITIES = ("id", "index", "reaction_id")
_LONGEST = 60
_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = _LONGEST
_REPR.maxlevel = _REPR.maxlist = _REPR.maxdict = 3


def shown(value: object) -> str:
    """A value for a message: on one line, cut where it is long."""
    try:
        return _REPR.repr(value)
    except Exception:  # an integer of thousands of digits, or a class of its own
        return f"a value of type {type(value).__name__} that cannot be shown"


def row_name(row: Mapping[str, Any]) -> str:
    """How a message calls a row: 'row 7'."""
    identity = next((row[name] for name in _IDENTITIES if name in row), "?")
    plain = isinstance(identity, str) and identity.isprintable() and len(identity) <= _LONGEST
    return f"row {identity if plain else shown(identity)}"


def column(row: Mapping[str, Any], name: str, metric: str) -> Any:
    """The value of a column. Raises InputError for a row without it."""
    if name not in row:
        raise InputError(f"{row_name(row)} has no column {name!r}, which the metric {metric} needs")
    return row[name]


def column_text(row: Mapping[str, Any], name: str, metric: str) -> str:
    """A column as text. Raises InputError for a row without it, and for a value that is too large or too nested."""
    return as_text(column(row, name, metric), row, name)


def as_text(value: object, row: Mapping[str, Any], name: str) -> str:
    """A value of a column as text. Raises InputError for one that is too large or too nested."""
    try:
        return str(value)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{row_name(row)}: column {name!r} holds a value too large or too nested to be read as text"
        ) from error


def one_of(value: object, known: Sequence[str], where: str) -> str:
    """The name among `known` that a value is, in any case. Raises InputError, naming where it was found."""
    names = {name.casefold(): name for name in known}
    found = names.get(value.casefold()) if isinstance(value, str) else None
    if found is None:
        raise InputError(f"{where}: unknown subtask {shown(value)}; known are {', '.join(known)}")
    return found
