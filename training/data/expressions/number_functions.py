"""Functions on numbers, and between texts and numbers."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable

from ....evaluation.data_files import as_text
from .row_values import RowError, Value, shown


def to_text(value: Value) -> str:
    """A value as a prompt shows it."""
    return as_text(value)


def to_int(value: Value) -> int:
    """A number without its fraction, or the whole number that a text states."""
    return math.trunc(to_float(value))


def to_float(value: Value) -> float:
    """A number, or the number that a text states."""
    if isinstance(value, str) and len(value) > 100:
        raise RowError(f"{shown(value)} is not a number")
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise RowError(f"{shown(value)} is not a number") from None
    if not math.isfinite(number):
        raise RowError(f"{shown(value)} is not a finite number")
    return number


def is_number(value: Value) -> bool:
    """Whether it is a number or a text that states one."""
    try:
        to_float(value)
    except RowError:
        return False
    return True


def absolute(number: float) -> float:
    """The number without its sign."""
    return abs(number)


def rounded(number: float, digits: int = 0) -> float:
    """Rounded to so many digits after the point; without digits, a whole number."""
    if not -20 <= digits <= 20:
        raise RowError("round() takes -20 to 20 digits")
    return round(number, digits) if digits else round(number)


def floor(number: float) -> int:
    """The largest whole number that is not larger."""
    return math.floor(number)


def ceil(number: float) -> int:
    """The smallest whole number that is not smaller."""
    return math.ceil(number)


def sqrt(number: float) -> float:
    """The square root."""
    if number < 0:
        raise RowError("sqrt() of a negative number")
    return math.sqrt(number)


def log(number: float) -> float:
    """The natural logarithm."""
    if number <= 0:
        raise RowError("log() of a number that is not positive")
    return math.log(number)


def hashed(value: Value, below: int) -> int:
    """A whole number from 0 to below `below`, the same for the same value: for choices that look random."""
    if below < 1:
        raise RowError("hash() needs a limit of 1 or more")
    digest = hashlib.blake2b(as_text(value).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest) % below


NUMBER_FUNCTIONS: dict[str, Callable[..., Value]] = {
    "str": to_text,
    "int": to_int,
    "float": to_float,
    "is_number": is_number,
    "abs": absolute,
    "round": rounded,
    "floor": floor,
    "ceil": ceil,
    "sqrt": sqrt,
    "log": log,
    "hash": hashed,
}
