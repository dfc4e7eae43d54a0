"""When two texts are the same to us: equal after normalisation, or sharing most of their 8-word sequences."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

GRAM_WORDS = 8
CONTAINMENT = 0.6

_WORD = re.compile(r"\w+")  # part of the definition of the data: another rule gives other splits


def normalise(text: str) -> str:
    """Lower-case words, one space between them: case, punctuation and spacing do not make a text new."""
    return " ".join(_WORD.findall(text.casefold()))


def grams(text: str) -> set[str]:
    """The sequences of eight words in a text; empty for a shorter one."""
    words = normalise(text).split()
    return {" ".join(words[i : i + GRAM_WORDS]) for i in range(len(words) - GRAM_WORDS + 1)}


class Overlap:
    """An index of texts that answers which of them a new text repeats."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._exact: dict[str, list[int]] = defaultdict(list)
        self._grams: dict[str, list[int]] = defaultdict(list)
        self._sizes: list[int] = []
        for index, text in enumerate(texts):
            self._exact[normalise(text)].append(index)
            found = grams(text)
            self._sizes.append(len(found))
            for gram in found:
                self._grams[gram].append(index)

    def matches(self, text: str) -> set[int]:
        """Indices of texts equal to `text`, or of which one holds at least 60 % of the other's 8-grams."""
        found = grams(text)
        shared = Counter(index for gram in found for index in self._grams.get(gram, ()))
        near = {i for i, n in shared.items() if n >= CONTAINMENT * min(self._sizes[i], len(found))}
        return near | set(self._exact.get(normalise(text), ()))


def groups(texts: Sequence[str]) -> list[int]:
    """A group number for each text (the smallest index in it): texts that repeat each other share one."""
    index = Overlap(texts)
    group = list(range(len(texts)))

    def root(i: int) -> int:
        while group[i] != i:
            group[i] = group[group[i]]
            i = group[i]
        return i

    for i, text in enumerate(texts):
        for j in index.matches(text):
            a, b = sorted((root(i), root(j)))
            group[b] = a
    return [root(i) for i in range(len(texts))]
