"""Functions on lists and objects, and those that lists and texts share."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import chain
from itertools import zip_longest as _zip_longest

from .row_values import MAX_ITEMS, RowError, Value, kind, shown


def length(value: Value) -> int:
    """Characters of a text, values of a list or an object."""
    if not isinstance(value, str | list | dict):
        raise RowError(f"len() needs text, a list or an object, got {shown(value)}")
    return len(value)


def count(whole: Value, part: Value) -> int:
    """How often a part is in a text, or a value in a list."""
    if isinstance(whole, str) and isinstance(part, str):
        return whole.count(part)
    if isinstance(whole, list):
        return whole.count(part)
    raise RowError(f"count() needs a text or a list, got {shown(whole)}")


def reverse(value: Value) -> Value:
    """A text or a list in reverse order."""
    if not isinstance(value, str | list):
        raise RowError(f"reversed() needs text or a list, got {shown(value)}")
    return value[::-1]


def numbers_from(start: int, stop: Value = None) -> list[int]:
    """Whole numbers from 0 to below `start`, or from `start` to below `stop`."""
    first, last = (0, start) if stop is None else (start, stop)
    if not isinstance(last, int) or isinstance(last, bool):
        raise RowError(f"range() needs whole numbers, got {shown(last)}")
    if last - first > MAX_ITEMS:
        raise RowError(f"a list is too long: more than {MAX_ITEMS} values")
    return list(range(first, last))


def first(values: list[Value], otherwise: Value = None) -> Value:
    """The first value; `otherwise` if there is none."""
    return values[0] if values else otherwise


def last(values: list[Value], otherwise: Value = None) -> Value:
    """The last value; `otherwise` if there is none."""
    return values[-1] if values else otherwise


def unique(values: list[Value]) -> list[Value]:
    """The different values in their order."""
    return list({json.dumps(value, sort_keys=True): value for value in values}.values())


def ordered(values: list[Value]) -> list[Value]:
    """In ascending order; numbers or texts."""
    return sorted(_alike("sorted", values))


def minimum(values: Value, other: Value = None) -> Value:
    """The smallest of a list, or of two numbers or texts."""
    return min(_filled("min", values if other is None else [values, other]))


def maximum(values: Value, other: Value = None) -> Value:
    """The largest of a list, or of two numbers or texts."""
    return max(_filled("max", values if other is None else [values, other]))


def total(values: list[Value]) -> Value:
    """The sum of numbers."""
    if any(kind(value) != "a number" for value in values):
        raise RowError(f"sum() needs numbers, got {shown(values)}")
    return sum(values)


def anything(values: list[Value]) -> bool:
    """Whether some value is true."""
    return any(values)


def everything(values: list[Value]) -> bool:
    """Whether all values are true."""
    return all(values)


def pairs(one: list[Value], other: list[Value]) -> list[Value]:
    """Lists of two: the values of both lists at each place, up to the end of the shorter."""
    return [[a, b] for a, b in zip(one, other, strict=False)]


def enumerated(values: list[Value]) -> list[Value]:
    """Lists of two: the place of each value, from 0, and the value."""
    return [[place, value] for place, value in enumerate(values)]


def flatten(values: list[Value]) -> list[Value]:
    """One list of the values of all lists in it."""
    if any(not isinstance(value, list) for value in values):
        raise RowError("flatten() needs a list of lists")
    return list(chain.from_iterable(values))


def interleave(one: list[Value], other: list[Value]) -> list[Value]:
    """One value of each list in turn; the rest of the longer at the end."""
    nothing = object()
    return [v for pair in _zip_longest(one, other, fillvalue=nothing) for v in pair if v is not nothing]


def get(value: dict[str, Value], name: str, otherwise: Value = None) -> Value:
    """The value of an object by its name; `otherwise` if it has none."""
    return value.get(name, otherwise)


def entries(value: dict[str, Value]) -> list[Value]:
    """Lists of two: the names and values of an object that are not null."""
    return [[name, part] for name, part in value.items() if part is not None]


def from_json(text: str) -> Value:
    """The value that a JSON text states."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise RowError(f"{shown(text)} is not JSON") from None


def to_json(value: Value) -> str:
    """A value as a JSON text."""
    return json.dumps(value, ensure_ascii=False)


def _alike(name: str, values: list[Value]) -> Sequence[Value]:
    kinds = {kind(value) for value in values}
    if len(kinds) > 1 or not kinds <= {"a number", "text"}:
        raise RowError(f"{name}() needs a list of numbers or of texts, got {shown(values)}")
    return values


def _filled(name: str, values: Value) -> Sequence[Value]:
    if not isinstance(values, list) or not values:
        raise RowError(f"{name}() needs a list that is not empty, got {shown(values)}")
    return _alike(name, values)


LIST_FUNCTIONS: dict[str, Callable[..., Value]] = {
    "len": length,
    "count": count,
    "reversed": reverse,
    "range": numbers_from,
    "first": first,
    "last": last,
    "unique": unique,
    "sorted": ordered,
    "min": minimum,
    "max": maximum,
    "sum": total,
    "any": anything,
    "all": everything,
    "zip": pairs,
    "enumerate": enumerated,
    "flatten": flatten,
    "interleave": interleave,
    "get": get,
    "items": entries,
    "parse_json": from_json,
    "to_json": to_json,
}
