"""Numbers written in Chinese characters, for the corrected rules, and cn2an, which the official ones use."""

from __future__ import annotations

import re
import warnings

from .packages import pinned

NUMERAL = r"(?:\d+(?:\.\d+)?|[零〇○一二两三四五六七八九十百]+)"
"""A number, in digits or below a thousand in characters."""

_DIGITS = {
    char: value for value, chars in enumerate(("零〇○", "一", "二两", *"三四五六七八九")) for char in chars
}


def number(text: str) -> float:
    """The value of a NUMERAL: '12' → 12, '十二' → 12, '二百六十四' → 264, '二六四' → 264, '一百零五' → 105."""
    if text[0].isdigit():
        return float(text)
    if not re.search("[十百]", text):
        return float(int("".join(str(_DIGITS[char]) for char in text)))
    total, pending = 0, 0
    for char in text:
        if char in "十百":
            total += (pending or 1) * (10 if char == "十" else 100)
            pending = 0
        else:
            pending = _DIGITS[char]
    return float(total + pending)


_LONG_RUN = re.compile(r"(\d{50,})")


def arabic(text: str) -> str:
    """A text with its Chinese numbers in digits, by cn2an in LawBench's version; what cn2an fails on stays.

    Runs of fifty digits and more are kept from it: it does not change them, and takes minutes for a thousand.
    Raises InputError for another version, and what cn2an raises.
    """
    cn2an = pinned("cn2an")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parts = _LONG_RUN.split(text)
        parts[::2] = [str(cn2an.transform(part, "cn2an")) for part in parts[::2]]
    return "".join(parts)
