"""The operators of the row language: arithmetic, comparison, elements and parts of lists, texts and objects."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterable, Sequence

from ....evaluation.data_files import as_text
from .row_values import MAX_TEXT, RowError, Value, Work, checked, kind, shown


def _add(left: Value, right: Value) -> Value:
    both_text = isinstance(left, str) and isinstance(right, str)
    if both_text or (isinstance(left, list) and isinstance(right, list)):
        return left + right
    return _numeric("+", operator.add)(left, right)


def _numeric(sign: str, apply: Callable[[Value, Value], Value]) -> Callable[[Value, Value], Value]:
    def compute(left: Value, right: Value) -> Value:
        for value in (left, right):
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise RowError(f"`{sign}` needs numbers, got {shown(left)} and {shown(right)}")
        try:
            return apply(left, right)
        except ZeroDivisionError:
            raise RowError("division by zero") from None
        except OverflowError:
            raise RowError("a number is too large") from None

    return compute


def _ordered(sign: str, apply: Callable[[Value, Value], bool]) -> Callable[[Value, Value], bool]:
    def compare(left: Value, right: Value) -> bool:
        if kind(left) != kind(right) or not isinstance(left, int | float | str):
            raise RowError(f"`{sign}` needs two numbers or two texts, got {shown(left)} and {shown(right)}")
        return apply(left, right)

    return compare


def _contains(part: Value, whole: Value) -> bool:
    if isinstance(whole, str) and not isinstance(part, str):
        raise RowError(f"`in` a text needs a text, got {shown(part)}")
    if isinstance(whole, dict) and not isinstance(part, str):
        return False
    if not isinstance(whole, str | list | dict):
        raise RowError(f"`in` needs a text, a list or an object, got {shown(whole)}")
    return part in whole


def _negative(value: Value) -> Value:
    return _numeric("-", operator.sub)(0, value)


UNARY: dict[type[ast.unaryop], Callable[[Value], Value]] = {ast.Not: operator.not_, ast.USub: _negative}
BINARY: dict[type[ast.operator], Callable[[Value, Value], Value]] = {
    ast.Add: _add,
    ast.Sub: _numeric("-", operator.sub),
    ast.Mult: _numeric("*", operator.mul),
    ast.Div: _numeric("/", operator.truediv),
    ast.FloorDiv: _numeric("//", operator.floordiv),
    ast.Mod: _numeric("%", operator.mod),
}
COMPARE: dict[type[ast.cmpop], Callable[[Value, Value], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Is: operator.eq,
    ast.IsNot: operator.ne,
    ast.Lt: _ordered("<", operator.lt),
    ast.LtE: _ordered("<=", operator.le),
    ast.Gt: _ordered(">", operator.gt),
    ast.GtE: _ordered(">=", operator.ge),
    ast.In: _contains,
    ast.NotIn: lambda part, whole: not _contains(part, whole),
}


def concatenated(parts: Iterable[Value], work: Work) -> str:
    """The texts of the values in one, as a prompt shows them."""
    texts, characters = [], 0
    for part in parts:
        texts.append(as_text(part))
        characters += len(texts[-1])
        if characters > MAX_TEXT:
            raise RowError(f"a text is too long: more than {MAX_TEXT} characters")
    return str(checked("".join(texts), work))


def items(value: Value) -> Sequence[Value]:
    """What a comprehension goes through: a list's values, an object's names."""
    if isinstance(value, dict):
        return list(value)
    if not isinstance(value, list):
        raise RowError(f"`for` needs a list, got {shown(value)}")
    return value


def unpacked(value: Value, count: int) -> Sequence[Value]:
    """The values of a list that has so many."""
    if not isinstance(value, list) or len(value) != count:
        raise RowError(f"{count} variables need a list of {count} values, got {shown(value)}")
    return value


def element(whole: Value, key: Value) -> Value:
    """An element of a list or a text by its place, a value of an object by its name."""
    wanted: type = str if isinstance(whole, dict) else int
    container: Value = whole
    if not isinstance(whole, str | list | dict) or not isinstance(key, wanted) or isinstance(key, bool):
        raise RowError(f"{shown(whole)} has no element {shown(key)}")
    try:
        return container[key]
    except (IndexError, KeyError):
        raise RowError(f"no element {shown(key)} in {shown(whole)}") from None


def cut(whole: Value, low: Value, high: Value) -> Value:
    """A part of a list or a text, as Python's slices."""
    if not isinstance(whole, str | list):
        raise RowError(f"only texts and lists have parts, got {shown(whole)}")
    for end in (low, high):
        if end is not None and (isinstance(end, bool) or not isinstance(end, int)):
            raise RowError(f"the ends of a part are whole numbers, got {shown(end)}")
    return whole[low:high]
