"""What the columns of a data file hold: labels, numbers, texts, identifiers."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from random import Random
from statistics import median
from typing import Any

from ..data_files import Row, as_text

SAMPLE = 5_000  # rows that columns are compared on
_DISTINCT = 20_000  # values of a column that are counted
_MOST_CLASSES = 200
_LABEL_LENGTH = 60
_COVERED = 0.9  # of the filled rows, by the classes of a label
_TYPO = 0.02  # of the rows of the class that it resembles
_NO_VALUE = {"", "na", "n/a", "nan", "null", "none", "nil", "-", "--", "?", "unknown", "missing", "tbd"}
_DATE = re.compile(r"\d{4}-\d\d?-\d\d?([ T].*)?|\d\d?[./]\d\d?[./]\d{2,4}.*")
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_IDENTIFIER = re.compile(
    r"(.*[_\W])?(id|ids|uuid|guid|index|idx|key|hash|url|link|path|file|filename)", re.IGNORECASE
)


@dataclass
class ColumnProfile:
    """One column: how often it is filled, its values, and what they look like."""

    name: str
    filled: int = 0
    nested: int = 0
    values: Counter[str] = field(default_factory=Counter)

    def add(self, value: Any) -> None:
        """Count the value of a row."""
        text = as_text(value).strip()
        if not text:
            return
        self.filled += 1
        self.nested += isinstance(value, Mapping | list)
        if text in self.values or len(self.values) < _DISTINCT:
            self.values[text] += 1

    @property
    def words(self) -> float:
        """The median number of words of its different values."""
        return median(len(text.split()) for text in self.values) if self.values else 0.0

    @property
    def characters(self) -> float:
        """The median length of its different values."""
        return median(map(len, self.values)) if self.values else 0.0

    def share(self, pattern: re.Pattern[str]) -> float:
        """The share of its different values that are of that form."""
        return sum(bool(pattern.fullmatch(text)) for text in self.values) / max(1, len(self.values))

    @property
    def is_date(self) -> bool:
        return self.share(_DATE) > 0.9

    @property
    def is_number(self) -> bool:
        return self.share(_NUMBER) > 0.95

    @property
    def is_identifier(self) -> bool:
        """Values that name the row: almost all different, without spaces, and called so or numbers in order."""
        if self.filled < 2 or self.words > 1 or len(self.values) < 0.9 * min(self.filled, _DISTINCT):
            return bool(_IDENTIFIER.fullmatch(self.name)) and self.words <= 1
        return bool(_IDENTIFIER.fullmatch(self.name)) or self.characters >= 16 or self._counts_up()

    def _counts_up(self) -> bool:
        if not all(text.isdecimal() for text in self.values):
            return False
        numbers = sorted(map(int, self.values))
        return numbers[-1] - numbers[0] < 2 * len(numbers)

    @property
    def classes(self) -> Classes | None:
        """Its classes, if it is a label."""
        if self.nested or self.characters > _LABEL_LENGTH or len(self.values) < 2:
            return None
        classes = group_values(self.values)
        covered = sum(classes.rows.values())
        enough = 2 <= len(classes.rows) <= _MOST_CLASSES and covered >= 4 * len(classes.rows)
        return classes if enough and covered >= _COVERED * self.filled else None


@dataclass(frozen=True)
class Classes:
    """The classes of a label column, the most frequent first, and values that are not taken for classes."""

    rows: dict[str, int]
    variants: dict[str, str]  # value: the class it resembles
    empty: dict[str, int]  # 'N/A' and the like


def group_values(values: Counter[str]) -> Classes:
    """Values that differ in case and spaces are one class, spelled as most rows spell it.

    Rare values that resemble a frequent class are variants of it, as typos are. Rare ones that say 'no value' are none.
    """
    spellings: dict[str, Counter[str]] = {}
    for text, count in values.items():
        spellings.setdefault(" ".join(text.split()).casefold(), Counter())[text] += count
    sizes = Counter({found.most_common(1)[0][0]: found.total() for found in spellings.values()})
    most = max(sizes.values(), default=0)
    empty = {text: n for text, n in sizes.items() if text.casefold() in _NO_VALUE and n < 0.2 * most}
    variants: dict[str, str] = {}
    by_size = [(text, n) for text, n in sizes.most_common() if text not in empty]
    for text, count in sizes.items():
        frequent = _at_least(by_size, count)
        if text not in empty and (close := _closest(text, frequent)):
            variants[text] = close
    rows = {text: n for text, n in sizes.most_common() if text not in empty and text not in variants}
    return Classes(rows, variants, empty)


def _at_least(by_size: list[tuple[str, int]], count: int) -> list[str]:
    """The values that are so frequent that one of `count` rows may be a typo of them."""
    return [text for text, _ in takewhile(lambda pair: pair[1] * _TYPO >= count, by_size)]


def _closest(text: str, others: Iterable[str]) -> str | None:
    by_form = {other.casefold(): other for other in others}
    close = difflib.get_close_matches(text.casefold(), by_form, n=1, cutoff=0.8)
    return by_form[close[0]] if close else None


@dataclass
class Table:
    """The columns of the files, and a sample of their rows."""

    columns: dict[str, ColumnProfile] = field(default_factory=dict)
    sample: list[Row] = field(default_factory=list)
    rows: int = 0
    _random: Random = field(default_factory=lambda: Random(0))

    def add(self, row: Row) -> None:
        """Count a row. The sample is a reservoir (Vitter 1985, algorithm R): each row is as likely in it."""
        for name, value in row.items():
            self.columns.setdefault(name, ColumnProfile(name)).add(value)
        self.rows += 1
        place = len(self.sample) if self.rows <= SAMPLE else self._random.randrange(self.rows)
        if place < SAMPLE:
            self.sample[place : place + 1] = [row]

    def tells(self, column: str, answer: str) -> bool:
        """Whether a column's value tells the answer in nearly all rows, as a label's number tells its name."""
        pairs = Counter(
            (as_text(row.get(column)).strip(), as_text(row.get(answer)).strip())
            for row in self.sample
            if row.get(column) is not None and row.get(answer) is not None
        )
        seen = Counter(value for value, _ in pairs.elements())
        if not 2 <= len(seen) <= _MOST_CLASSES or pairs.total() < 5 * len(seen):
            return False
        best: Counter[str] = Counter()
        for (value, _), count in pairs.items():
            best[value] = max(best[value], count)
        answers = Counter(said for _, said in pairs.elements())
        return best.total() >= 0.98 * pairs.total() and answers.most_common(1)[0][1] < 0.9 * pairs.total()

    def repeats(self, column: str) -> bool:
        """Whether a column names groups of rows: at least 20, none with more than a tenth of the rows."""
        values = self.columns[column].values
        groups = len(values)
        return 20 <= groups < 0.9 * self.columns[column].filled and max(values.values()) <= 0.1 * self.rows
