"""Texts as the contamination gate compares them: without case, white space and the punctuation of prose.

`key` is equal for texts that count as the same; `units` lets parts of texts be compared. Both

* fold case and compatible characters: NFKC and default caseless matching (Unicode 17, sections 3.11 and 3.13), by way
  of upper case, so that a text equals its capitals also where these lose a distinction (ı, I);
* fold letters that look like Latin ones, such as а of Cyrillic, by the table of Unicode's confusables (UTS 39), and
  drop marks over plain letters (s̶t̶r̶u̶c̶k̶). All texts are folded alike, so that a Russian text still equals itself. An
  accent that is part of its letter is kept: 'résumé' is not 'resume';
* keep letters, digits and the vowel signs and accents that belong to them. White space and invisible characters are
  removed, so that words may be joined or split ('every one', 'every-one');
* keep a symbol next to a digit or a single letter other than 'a' and 'i', where it carries the meaning ('2 + 2',
  '50%', 'C++', 'x = y'), but not between words ('good/bad', '*great*');
* keep a chemical formula in line notation (SMILES) whole, with its brackets: 'CC(C)O' is not 'CCCO'.

In `units` a formula or a number is compared as a whole: molecules differ by one character, and '17 carbon atoms' is
no more similar to '16' than to '3'.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from functools import cache, lru_cache
from typing import cast

import numpy as np
from numpy.typing import NDArray

Units = NDArray[np.uint32]

_SYMBOLS = "=#+<>/\\%^*~|$&"
_SYMBOL_RUN = re.compile(rf"[{re.escape(_SYMBOLS)}]+")
_ATOM = r"\[[^\[\]\s]{1,12}\]|cl|br|[bcnopsfih]"
_FORMULA = re.compile(rf"(?<![^\W_])(?:{_ATOM})(?:{_ATOM}|\d|[=#()@/\\.:+%*$-])*(?![^\W_])")
_FORMULA_LIKE = re.compile(r"[bcfhinoprsl\])][=#(@\d\[]|\[")  # fast; matches every formula
_BONDS = re.compile(r"[=#()\[\]@]")
_SHORTEST_RINGED = 6  # 'c1ccccc1o' has no bond sign; shorter ones are ambiguous: 'co2', 'b2b'
_LONGEST_FORMULA = 24
_NUMBER = re.compile(r"(?<![a-z\d])\d+(?:[.,]\d+)*(?![a-z\d])")
_WORD = re.compile(r"[^\W_]+")
_WORD_UNITS = 5

# Symbols that are kept are moved to Unicode's plane 16 (private use), which texts do not use.
_KEPT = 0x100000
ATOM_START, ATOM_BODY, ATOM_END = 0x100800, 0x108000, 0x10FFF0
"""Ranges of units: a formula or number begins with one of ATOM_START..ATOM_BODY, then ATOM_BODY..ATOM_END follow."""
ATOM_UNITS = 6
"""The fewest units of a formula or number."""
_CODES = 0x110000
# An ideograph carries as much information as three letters, a syllable as two: they count as so many units.
_WIDE = {
    (0x3400, 0xA000): 3,
    (0xF900, 0xFB00): 3,
    (0x20000, 0x40000): 3,
    (0x3040, 0x3100): 2,
    (0xAC00, 0xD7A4): 2,
}
_DROPPED_MARKS = {0x034F, *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)}  # joiner, variation selectors

_MARKS_ON_LATIN = re.compile(r"(?<=[a-z])[\u0300-\u036f\u20d0-\u20f0]+")
_LATIN_BY_NAME = re.compile(r".*\b(?:LATIN|SYMBOL)\b.* LETTER (?:SMALL CAPITAL )?([A-Z])")  # ᴀ, 🅰, 🇦
_LOOKS_LIKE = {"ӏ": "l"}  # the table compares its other case, which looks the same, with i
# A form of σ that looks like c, and in Latin words capitals whose small letters look like other Latin ones.
_BEFORE_FOLDING = re.compile(r"[Ϲϲ]|(?<=[A-Za-z])[ΝΥ]|[ΝΥ](?=[A-Za-z])")
_FOLDED_BEFORE = {"Ν": "n", "Υ": "y", "Ϲ": "c", "ϲ": "c"}


class _LookAlikes(dict[int, int]):
    """A table for `str.translate`: a small letter or sign of another script as the Latin letter it looks like."""

    def __missing__(self, code: int) -> int:
        character = chr(code)
        apart = character.isascii() or unicodedata.category(character) not in ("Ll", "Lm", "Lo", "So")
        self[code] = code if apart else ord(_look_alike(character))
        return self[code]


class _Letters(dict[int, int | None]):
    """A table for `str.translate` that keeps letters, digits, their marks and the symbols that were moved."""

    def __missing__(self, code: int) -> int | None:
        character = chr(code)
        mark = unicodedata.category(character) in ("Mn", "Mc") and code not in _DROPPED_MARKS
        self[code] = code if code >= _KEPT or character.isalnum() or mark else None
        return self[code]


_LOOK_ALIKES = _LookAlikes()
_LETTERS = _Letters()


@lru_cache(maxsize=4)  # words are often counted next
def fold(text: str) -> str:
    """The text without case, compatibility variants and look-alike letters."""
    if text.isascii():
        return text.lower()
    text = _BEFORE_FOLDING.sub(lambda match: _FOLDED_BEFORE[match[0]], text)
    once = unicodedata.normalize("NFKC", text.casefold())
    twice = once.upper().casefold()
    folded = once if twice == once else unicodedata.normalize("NFKC", twice)
    return _MARKS_ON_LATIN.sub("", folded.translate(_LOOK_ALIKES))


def key(text: str) -> str:
    """A string that is equal for texts that count as the same. Of a text of symbols: the text without white space."""
    folded = fold(text)
    return _exact_letters(folded) or "".join(folded.split())


def forms(text: str) -> tuple[str, str]:
    """The text's key, and the letters for `units`. They differ in formulas and numbers only."""
    folded = fold(text)
    letters = _exact_letters(folded)
    text_key = letters or "".join(folded.split())
    formula_like = _FORMULA_LIKE.search(folded)
    if not formula_like and not _NUMBER.search(folded):
        return text_key, letters
    atomic = _FORMULA.sub(_hash_formula, folded) if formula_like else folded
    return text_key, _NUMBER.sub(_hash_number, _keep_symbols(atomic)).translate(_LETTERS)


def _exact_letters(folded: str) -> str:
    exact = _FORMULA.sub(_keep_formula, folded) if _FORMULA_LIKE.search(folded) else folded
    return _keep_symbols(exact).translate(_LETTERS)


def word_count(text: str) -> int:
    """Words of a text. In scripts without spaces between words, five units count as a word."""
    folded = fold(text)
    if text.isascii():
        return len(_WORD.findall(folded))
    spans = np.array([word.span() for word in _WORD.finditer(folded)], dtype=np.int64).reshape(-1, 2)
    before = np.concatenate(([0], np.cumsum(_widths()[_codes(folded)])))  # units before each letter
    sizes, letters = before[spans[:, 1]] - before[spans[:, 0]], spans[:, 1] - spans[:, 0]
    return int(np.where(sizes == letters, 1, np.maximum(1, sizes // _WORD_UNITS)).sum())


def letters_prevail(text: str) -> bool:
    """Whether a text has more letters than digits, unlike dates, codes and numbers."""
    return sum(map(str.isalpha, text)) > sum(map(str.isdigit, text))


def units(letters: str) -> Units:
    """The letters as numbers. A wide letter becomes several, so that a unit carries about the same information."""
    codes = _codes(letters)
    if letters.isascii():
        return codes
    counts = _widths()[codes]
    ends = np.cumsum(counts)
    part = np.arange(ends[-1], dtype=np.uint32) - np.repeat(ends - counts, counts).astype(np.uint32)
    return np.asarray(np.repeat(codes, counts) + part * np.uint32(_CODES), dtype=np.uint32)


def _codes(text: str) -> Units:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)


def _look_alike(character: str) -> str:
    """The Latin letter that a letter or its capital looks like; itself if there is none."""
    if character in _LOOKS_LIKE:
        return _LOOKS_LIKE[character]
    for form in (character, character.upper()):
        for similar in _confusables().get(form, ()):
            if len(similar) == 1 and similar.isascii() and similar.isalpha():
                return similar.lower()
    named = _LATIN_BY_NAME.fullmatch(unicodedata.name(character, ""))
    return named[1].lower() if named else character


@cache
def _confusables() -> dict[str, list[str]]:
    from confusable_homoglyphs.confusables import confusables_data  # takes .1 s

    data = cast(dict[str, list[dict[str, str]]], confusables_data)
    return {character: [similar["c"] for similar in others] for character, others in data.items()}


@cache
def _widths() -> NDArray[np.int64]:
    widths = np.ones(_CODES, dtype=np.int64)
    for (first, end), width in _WIDE.items():
        widths[first:end] = width
    return widths


def _keep_symbols(text: str) -> str:
    """The text with the symbols that carry meaning moved to where `_Letters` keeps them."""

    def mapped(match: re.Match[str]) -> str:
        before = text[max(0, match.start() - 4) : match.start()].rstrip()
        after = text[match.end() : match.end() + 4].lstrip()
        if _is_operand(before[-1:], before[-2:-1]) or _is_operand(after[:1], after[1:2]):
            return _moved(match[0])
        return match[0]

    return _SYMBOL_RUN.sub(mapped, text)


def _is_operand(nearest: str, next_one: str) -> bool:
    """Whether the character nearest to a symbol is a digit or a word of one letter."""
    return nearest.isdigit() or (nearest.isalpha() and nearest not in "ai" and not next_one.isalnum())


def _moved(text: str) -> str:
    return "".join(c if c.isalnum() else chr(_KEPT + ord(c)) for c in text)


def _keep_formula(match: re.Match[str]) -> str:
    formula, rest = _trimmed(match[0])
    return (_moved(formula) if _BONDS.search(formula) else formula) + rest


def _hash_formula(match: re.Match[str]) -> str:
    """A formula as letters made from its hash, so that no part of it equals a part of another formula."""
    formula, rest = _trimmed(match[0])
    ringed = len(formula) >= _SHORTEST_RINGED and not formula.isalpha()
    if not (_BONDS.search(formula) or ringed):
        return match[0]
    return _hashed(formula, max(ATOM_UNITS, min(len(formula), _LONGEST_FORMULA))) + rest


def _hash_number(match: re.Match[str]) -> str:
    return _hashed(match[0].replace(",", ""), ATOM_UNITS)


@lru_cache(maxsize=10_000)  # a few numbers are most of those in texts
def _hashed(text: str, length: int) -> str:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=2 * length).digest()
    first, *others = np.frombuffer(digest, dtype="<u2").tolist()
    start = chr(ATOM_START + first % (ATOM_BODY - ATOM_START))
    return start + "".join(chr(ATOM_BODY + code % (ATOM_END - ATOM_BODY)) for code in others)


def _trimmed(text: str) -> tuple[str, str]:
    """A formula, and the punctuation of the sentence that follows it."""
    formula = text.rstrip(".:-+*$%/\\")
    while formula.endswith(")") and formula.count(")") > formula.count("("):
        formula = formula[:-1].rstrip(".:-")
    return formula, text[len(formula) :]
