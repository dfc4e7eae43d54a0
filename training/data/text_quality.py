"""Published rules on the quality of a text. Each is a test that a bad text fails, with the thresholds of its paper.

gopher, gopher_repetition: Rae et al., "Scaling Language Models: Methods, Analysis & Insights from Training Gopher",
2021 (arXiv 2112.11446), appendix A.1.1, table A1. c4: Raffel et al., "Exploring the Limits of Transfer Learning with a
Unified Text-to-Text Transformer", 2020 (JMLR 21), section 2.2, its rules on whole pages. fineweb: Penedo et al., "The
FineWeb Datasets", 2024 (arXiv 2406.17557), section 3.6. They were made for web pages: of short rows most fail
`gopher.words`, which can be left out by name.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

STOP_WORDS = frozenset({"the", "be", "to", "of", "and", "that", "have", "with"})
ENDS = (".", "!", "?", '"', "'", "”", "。", "！", "？")
SHORT_LINE = 30
_SENTENCE = re.compile(r"[.!?。！？]+[\"'”)]*(?:\s|$)")


@dataclass(frozen=True)
class TextMeasures:
    """What the rules measure in a text, each when it is first needed."""

    text: str

    @cached_property
    def words(self) -> list[str]:
        return self.text.split()

    @cached_property
    def lines(self) -> list[str]:
        return [line.strip() for line in self.text.split("\n") if line.strip()]

    @cached_property
    def paragraphs(self) -> list[str]:
        return [part.strip() for part in re.split(r"\n\s*\n", self.text) if part.strip()]

    def of_words(self, test: Callable[[str], bool]) -> float:
        """The share of words that pass a test; 0 without words."""
        return sum(map(test, self.words)) / len(self.words) if self.words else 0.0

    def of_lines(self, test: Callable[[str], bool]) -> float:
        """The share of lines that pass a test; 0 without lines."""
        return sum(map(test, self.lines)) / len(self.lines) if self.lines else 0.0

    def top_ngram(self, n: int) -> float:
        """The share of the characters of words that are in the most frequent n-gram; 0 if none is repeated."""
        counts = Counter(self._ngrams(n))
        most = max(counts.values(), default=0)
        if most < 2:
            return 0.0
        longest = max(sum(map(len, gram)) for gram, times in counts.items() if times == most)
        return longest * most / self._characters

    def repeated_ngrams(self, n: int) -> float:
        """The share of the characters of words that are in an n-gram which occurred before."""
        seen: set[tuple[str, ...]] = set()
        covered: set[int] = set()
        for place, gram in enumerate(self._ngrams(n)):
            if gram in seen:
                covered.update(range(place, place + n))
            seen.add(gram)
        return sum(len(self.words[place]) for place in covered) / max(1, self._characters)

    @property
    def _characters(self) -> int:
        return sum(map(len, self.words))

    def _ngrams(self, n: int) -> list[tuple[str, ...]]:
        return list(zip(*(self.words[start:] for start in range(n)), strict=False))


def repeated_share(parts: Sequence[str], characters: bool = False) -> float:
    """The share of parts, or of their characters, that repeat an earlier part."""
    weight = [len(part) if characters else 1 for part in parts]
    seen: set[str] = set()
    repeated = 0
    for part, size in zip(parts, weight, strict=True):
        repeated += size if part in seen else 0
        seen.add(part)
    return repeated / sum(weight) if parts else 0.0


def _symbols(text: TextMeasures) -> float:
    found = text.text.count("#") + text.text.count("…") + text.text.count("...")
    return found / len(text.words) if text.words else 0.0


def _mean_length(text: TextMeasures) -> float:
    return sum(map(len, text.words)) / len(text.words) if text.words else 0.0


def _stop_words(text: TextMeasures) -> int:
    return len(STOP_WORDS & {word.casefold().strip(".,;:!?\"'()") for word in text.words})


Rule = Callable[[TextMeasures], bool]
"""Whether a text passes."""

RULES: dict[str, Rule] = {
    "gopher.words": lambda t: 50 <= len(t.words) <= 100_000,
    "gopher.word_length": lambda t: 3 <= _mean_length(t) <= 10,
    "gopher.symbols": lambda t: _symbols(t) <= 0.1,
    "gopher.bullets": lambda t: t.of_lines(lambda line: line.startswith(("•", "‣", "-", "*"))) <= 0.9,
    "gopher.ellipses": lambda t: t.of_lines(lambda line: line.endswith(("…", "..."))) <= 0.3,
    "gopher.letters": lambda t: t.of_words(lambda word: any(map(str.isalpha, word))) >= 0.8,
    "gopher.stop_words": lambda t: _stop_words(t) >= 2,
    "gopher_repetition.lines": lambda t: repeated_share(t.lines) <= 0.3,
    "gopher_repetition.paragraphs": lambda t: repeated_share(t.paragraphs) <= 0.3,
    "gopher_repetition.line_characters": lambda t: repeated_share(t.lines, True) <= 0.2,
    "gopher_repetition.paragraph_characters": lambda t: repeated_share(t.paragraphs, True) <= 0.2,
    "gopher_repetition.top_ngrams": lambda t: (
        t.top_ngram(2) <= 0.2 and t.top_ngram(3) <= 0.18 and t.top_ngram(4) <= 0.16
    ),
    "gopher_repetition.ngrams": lambda t: all(
        t.repeated_ngrams(n) <= most
        for n, most in zip(range(5, 11), (0.15, 0.14, 0.13, 0.12, 0.11, 0.1), strict=True)
    ),
    "c4.sentences": lambda t: len(_SENTENCE.findall(t.text)) >= 3,
    "c4.lorem_ipsum": lambda t: "lorem ipsum" not in t.text.casefold(),
    "c4.curly_brackets": lambda t: "{" not in t.text,
    "fineweb.line_ends": lambda t: t.of_lines(lambda line: line.endswith(ENDS)) > 0.12,
    "fineweb.repeated_lines": lambda t: repeated_share(t.lines, True) < 0.1,
    "fineweb.short_lines": lambda t: t.of_lines(lambda line: len(line) < SHORT_LINE) < 0.67,
}
"""By set and name, in the order in which they are tried."""


def failed_rule(text: str, names: Sequence[str]) -> str | None:
    """The first of these rules that the text fails."""
    measures = TextMeasures(text)
    return next((name for name in names if not RULES[name](measures)), None)
