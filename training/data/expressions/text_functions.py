"""Functions on texts. Patterns are regular expressions of RE2, whose time is linear in the text."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from typing import Any

from ....evaluation.data_files import as_text
from .row_values import MAX_TEXT, RowError, Value

MAX_PATTERN = 200


def upper(text: str) -> str:
    """In upper case."""
    return text.upper()


def lower(text: str) -> str:
    """In lower case."""
    return text.lower()


def capitalize(text: str) -> str:
    """The first letter in upper case, the others in lower case."""
    return text.capitalize()


def title(text: str) -> str:
    """Every word with an upper-case letter first."""
    return text.title()


def strip(text: str, characters: Value = None) -> str:
    """Without white space, or without these characters, at both ends."""
    return text.strip(_text_or_none(characters))


def startswith(text: str, start: str) -> bool:
    """Whether it begins with `start`."""
    return text.startswith(start)


def endswith(text: str, end: str) -> bool:
    """Whether it ends with `end`."""
    return text.endswith(end)


def removeprefix(text: str, start: str) -> str:
    """Without `start`, if it begins with it."""
    return text.removeprefix(start)


def removesuffix(text: str, end: str) -> str:
    """Without `end`, if it ends with it."""
    return text.removesuffix(end)


def replace(text: str, old: str, new: str) -> str:
    """With every `old` replaced by `new`."""
    if len(text) + text.count(old) * len(new) > MAX_TEXT:
        raise RowError(f"a text is too long: more than {MAX_TEXT} characters")
    return text.replace(old, new)


def split(text: str, separator: Value = None) -> list[str]:
    """The parts between separators; without one, the words."""
    if separator == "":
        raise RowError("split() needs a separator that is not empty")
    return text.split(_text_or_none(separator))


def lines(text: str) -> list[str]:
    """The lines."""
    return text.splitlines()


def join(separator: str, parts: list[Value]) -> str:
    """The texts of a list with a separator between them: ', '.join(names)."""
    texts = [as_text(part) for part in parts]
    if sum(map(len, texts)) + len(separator) * len(texts) > MAX_TEXT:
        raise RowError(f"a text is too long: more than {MAX_TEXT} characters")
    return separator.join(texts)


def repeat(text: str, times: int) -> str:
    """The text so many times."""
    if len(text) * times > MAX_TEXT:
        raise RowError(f"a text is too long: more than {MAX_TEXT} characters")
    return text * times


def find(text: str, part: str) -> int:
    """Where `part` begins first; -1 if it is not there."""
    return text.find(part)


def normalize(text: str, form: str = "NFC") -> str:
    """In a Unicode normal form: NFC, NFD, NFKC or NFKD."""
    match form:
        case "NFC" | "NFD" | "NFKC" | "NFKD":
            return unicodedata.normalize(form, text)
    raise RowError(f"no Unicode normal form {form[:20]!r}")


def matches(text: str, pattern: str) -> bool:
    """Whether a regular expression matches some part."""
    return bool(_regex("match_substring_regex", text, pattern))


def search(text: str, pattern: str) -> Value:
    """The first part that a regular expression matches; null if there is none."""
    found = _regex("extract_regex", text, f"(?P<found>{pattern})")
    return None if found is None else found["found"]


def sub(text: str, pattern: str, new: str) -> str:
    r"""With every match of a regular expression replaced; \1 is its first group."""
    if (len(text) + 1) * (len(new) + 1) > MAX_TEXT:
        times = int(_regex("count_substring_regex", text, pattern))
        if len(text) * (1 + new.count("\\")) + times * len(new) > MAX_TEXT:
            raise RowError(f"a text is too long: more than {MAX_TEXT} characters")
    return str(_regex("replace_substring_regex", text, pattern, replacement=new))


def _regex(function: str, text: str, pattern: str, **options: str) -> Any:
    """An Arrow function on one text. Raises RowError for a pattern that RE2 does not accept."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if len(pattern) > MAX_PATTERN:
        raise RowError(f"a pattern has at most {MAX_PATTERN} characters")
    try:
        return getattr(pc, function)(pa.scalar(text), pattern=pattern, **options).as_py()
    except pa.ArrowInvalid as error:
        raise RowError(f"pattern {pattern[:40]!r}: {error}") from None
    except UnicodeEncodeError:
        raise RowError("the text is not valid Unicode") from None


def _text_or_none(value: Value) -> str | None:
    if value is not None and not isinstance(value, str):
        raise RowError("needs a text")
    return value


TEXT_FUNCTIONS: dict[str, Callable[..., Value]] = {
    function.__name__: function
    for function in (
        *(upper, lower, capitalize, title, strip, startswith, endswith, removeprefix, removesuffix, replace),
        *(split, lines, join, repeat, find, normalize, matches, search, sub),
    )
}
