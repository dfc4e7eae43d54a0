"""Texts as words, and how similar two texts are, for languages with and without spaces.

The one way to split a text into words, except where a rule of its own is part of a definition: a metric that compares
words (`metrics/variants.py`), official scorers, and the near-duplicates of an embedded task's data.
"""

from __future__ import annotations

import re
from collections.abc import Set
from functools import lru_cache

# Scripts written without spaces between words: kana, CJK ideographs, Thai, Lao, Khmer, Burmese.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_PIECES = re.compile(rf"[{_UNSPACED}]+|[^\W_{_UNSPACED}]+(?:['’][^\W_{_UNSPACED}]+)*")
_IS_UNSPACED = re.compile(f"[{_UNSPACED}]{{2,}}")


def words(text: str) -> list[str]:
    """The case-folded words and numbers of a text, in order.

    Scripts without spaces give overlapping pairs of characters, which find topics about as well as real
    words do (Nie and Ren 1999, Information Processing and Management 35:443).
    """
    found: list[str] = []
    for piece in _PIECES.findall(text.casefold()):
        if piece.isascii() or not _IS_UNSPACED.match(piece):
            found.append(piece)
        else:
            found += [piece[i : i + 2] for i in range(len(piece) - 1)]
    return found


@lru_cache(maxsize=8192)  # memory and diagnosis ask for the same texts in every round
def word_set(text: str) -> frozenset[str]:
    """The different words of a text."""
    return frozenset(words(text))


def resemblance(one: Set[str], other: Set[str]) -> float:
    """Jaccard's index of two sets of words, in [0, 1]: shared over all (Broder 1997); 1 for two empty ones."""
    every = len(one | other)
    return len(one & other) / every if every else 1.0
