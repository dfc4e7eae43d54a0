"""A call's arguments, read and compared tolerantly: what a tool would take as the same is the same.

'{"n": "3"}' and {'n': 3.0}                         → the same: numbers may be written as text
"{'box': '(1, 2, 3, 4)',}" and {'box': '(1,2,3,4)'} → the same: a Python dictionary, spaces at punctuation
{'image': '/data/image/a.jpg'} and {'image': 'image/a.jpg'} → the same file
{'query': 'Oslo'} and {'query': 'oslo'}             → different
"""

from __future__ import annotations

import ast
import json
import re
import unicodedata
import warnings
from decimal import Decimal
from typing import Any

_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,3})?", re.ASCII)
_NEAR_PUNCTUATION = re.compile(r"(?<=[^\w\s]) | (?=[^\w\s])")
_TRAILING_COMMA = re.compile(r",\s*(?=[}\]])")


def read_arguments(text: str) -> dict[str, Any] | None:
    """The object in a text: JSON, or a Python dictionary, with anything before or after; None if there is none.

    Line breaks inside strings and commas before a closing bracket are accepted.
    """
    start, end = text.find("{"), text.rfind("}") + 1
    if start < 0 or end <= start:
        return {} if not text.strip(" `\n") else None
    decoder = json.JSONDecoder(strict=False)
    for body in (text[start:], _TRAILING_COMMA.sub("", text[start:end])):
        try:
            value, _ = decoder.raw_decode(body)
            return value if isinstance(value, dict) else None
        except (ValueError, RecursionError):
            continue
    return _python_dictionary(text[start:end])


def _python_dictionary(text: str) -> dict[str, Any] | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes that Python doesn't know
            value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    return {str(key): part for key, part in value.items()} if isinstance(value, dict) else None


def same_arguments(ours: dict[str, Any], gold: dict[str, Any]) -> bool:
    """Whether two calls say the same. A value of null is an argument left out."""
    left = {key: value for key, value in ours.items() if value is not None}
    right = {key: value for key, value in gold.items() if value is not None}
    return left.keys() == right.keys() and all(_same(left[key], right[key]) for key in left)


def _same(ours: Any, gold: Any) -> bool:
    if isinstance(ours, dict) and isinstance(gold, dict):
        return same_arguments(ours, gold)
    if isinstance(ours, list | tuple) and isinstance(gold, list | tuple):
        return len(ours) == len(gold) and all(map(_same, ours, gold))
    if isinstance(ours, dict | list | tuple) or isinstance(gold, dict | list | tuple):
        return False
    left, right = _text(ours), _text(gold)
    numbers = _number(left), _number(right)
    if None not in numbers:
        return numbers[0] == numbers[1]
    return left == right or _same_file(left, right)


def _text(value: Any) -> str:
    """A value as a tool would read it, without spaces that carry nothing."""
    if isinstance(value, bool):
        return str(value).lower()
    text = " ".join(unicodedata.normalize("NFKC", str(value)).split())
    return text.lower() if text in ("True", "False") else _NEAR_PUNCTUATION.sub("", text)


def _number(text: str) -> Decimal | None:
    return Decimal(text) if _NUMBER.fullmatch(text) else None


def _same_file(ours: str, gold: str) -> bool:
    """Whether one path ends in the other, which names a folder and a file: runs differ in the data's place."""
    short, long = sorted((ours.removeprefix("./"), gold.removeprefix("./")), key=len)
    return "/" in short and "://" not in short and (short == long or long.endswith("/" + short))
