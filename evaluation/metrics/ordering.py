"""Ordering: whether an answer puts four events, A to D, in the right order.

EconLogicQA (Quan & Liu, arXiv 2405.07938, §4.1) takes a permutation from the answer with a regular expression and
counts exact matches; no permutation is wrong, chance is 1/24. Its own code is unpublished. The upstream form
here is the task of EleutherAI/lm-evaluation-harness pull request 4120 (`econ_logic_qa/utils.py` at 6da340c):

1. Read what follows the last marker ('answer', 'order', 'sequence', 'ordering'), and if that gives nothing the
   whole answer. Without a marker, the whole answer.
2. There: the first separated run ('D, A, C, B', 'D -> A then C > B', any case), else the first four capitals
   in one word ('DACB'), else the first four lone capitals in a row, words between them.

    gold 'D, A, C, B', answer 'The order is D → A → C → B.'  → 1
    gold 'D, A, C, B', answer 'ABCD? No. Answer: DACB'       → 1
    gold 'D, A, C, B', answer 'd, a, c and b'                → 0 upstream, 1 here

Corrected, with the reason:
- The letters of 'and' were read as options A and D, so that 'd, a, c and b' was no permutation.
- An answer that ponders first ('A, B, C, D? … D, A, C, B') was read by its first permutation: the last one
  counts, and one that stands right after a marker counts before all others, so that an explanation which follows
  the answer does not replace it.
- Full-width punctuation, brackets, quotes, asterisks, digits and line breaks separate letters, too.
- The options repeated in the prompt's form ('A. … B. … C. … D. …') are no answer.
- What precedes the end of a `</think>` block is not the answer.
- Upstream, no permutation in the gold and none in the answer is a match; here it is none.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from itertools import combinations
from typing import TypeVar

from ..task import Item
from .columns import column_text
from .measure import mean
from .metric_example import MetricExample

Order = tuple[str, ...]
_T = TypeVar("_T")

EVENTS = ("A", "B", "C", "D")

_MARKER = r"\b(?:answer|order|sequence|ordering)\b"
_UPSTREAM_MARKER = re.compile(_MARKER + r"\s*(?:is)?\s*[:\-–]?\s*", re.IGNORECASE)
_UPSTREAM_JOINT = r"\s*(?:,|;|-->|->|→|>|\||\band\b|\bthen\b)?\s*"
_UPSTREAM_RUN = re.compile(
    rf"(?<![A-Za-z])[ABCD](?:{_UPSTREAM_JOINT}(?<![A-Za-z])[ABCD](?![A-Za-z])){{3}}", re.IGNORECASE
)
_WORD = re.compile(r"(?<![A-Za-z])[ABCD]{4}(?![A-Za-z])")
_CAPITAL = re.compile(r"(?<![A-Za-z])[ABCD](?![A-Za-z])")

_LETTER = r"(?<![A-Za-z])[ABCDabcd](?![A-Za-z])"
_JOINT = r"(?:[^A-Za-z]|\band\b|\bthen\b|\bfinally\b)+"
_RUN = re.compile(rf"{_LETTER}(?:{_JOINT}{_LETTER}){{3,}}|{_WORD.pattern}|\A\W*[a-d]{{4}}\W*\Z")
_BEFORE_RUN = re.compile(_MARKER + r"(?:[^A-Za-z]|\b(?:is|should|would|be)\b)*\Z", re.IGNORECASE)
_OPTION = re.compile(r"^\W*([ABCD])[.):]\s+[A-Za-z]{2}|(?<=[.!?]\s)([ABCD])[.):]\s+[A-Za-z]{2}", re.MULTILINE)


class OrderingAccuracy:
    """1 for the gold order, else 0. Items carry `Answer`, e.g. 'D, A, C, B'.

    `secondary`: 'parsed', the share of answers with a permutation; 'pairwise', the mean share of the six pairs of
    events in the right order (0 without a permutation), and for the corrected form the official score.
    """

    aggregate = staticmethod(mean)

    examples = (
        MetricExample(answer="The order is D → A → C → B.", columns={"Answer": "D, A, C, B"}, value=1),
        MetricExample(answer="A, B, C, D", columns={"Answer": "D, A, C, B"}, value=0),
    )

    def __init__(self, upstream: bool = False) -> None:
        self._upstream = upstream
        self._read: Callable[[str], Order] = upstream_order if upstream else order

    @property
    def name(self) -> str:
        """The score's name in tables."""
        return "accuracy/upstream" if self._upstream else "accuracy"

    def score_items(self, items: Sequence[Item], predictions: Sequence[str]) -> list[float]:
        """1.0 or 0.0 per item. Raises InputError for a row without `Answer`."""
        return [
            float(self._read(answer) == gold and (self._upstream or bool(gold)))
            for gold, answer in zip(map(gold_order, items), predictions, strict=True)
        ]

    def secondary(self, items: Sequence[Item], predictions: Sequence[str]) -> dict[str, float]:
        """See the class."""
        orders = [self._read(answer) for answer in predictions]
        pairs = [pairwise(found, gold_order(item)) for item, found in zip(items, orders, strict=True)]
        figures = {
            "parsed": sum(map(bool, orders)) / len(orders),
            "pairwise": sum(pairs) / len(pairs),
        }
        if not self._upstream:
            official = OrderingAccuracy(upstream=True)
            figures[f"{self.name}/upstream"] = official.aggregate(official.score_items(items, predictions))
        return figures


def gold_order(item: Item) -> Order:
    """The order of a row; () if its `Answer` is no permutation. Raises InputError without that column."""
    return _permutation(re.findall("[ABCD]", column_text(item, "Answer", "econlogicqa").upper()))


def order(answer: str) -> Order:
    """The order an answer settles on, by the corrected rules; () if there is none."""
    text = unicodedata.normalize("NFKC", answer.rpartition("</think>")[2])
    stated: Order = ()
    marked: Order = ()
    for run in _RUN.finditer(text):
        found = _permutation(_letters(run.group())[-4:])
        stated = found or stated
        if _BEFORE_RUN.search(text, 0, run.start()):
            marked = found or marked
    return marked or stated or _last_capitals(text)


def upstream_order(answer: str) -> Order:
    """The order the official code reads; () if it finds none."""
    ends = [marker.end() for marker in _UPSTREAM_MARKER.finditer(answer)]
    for text in (*(answer[end:] for end in ends[-1:]), answer):
        runs = (re.findall("[ABCD]", run.group().upper()) for run in _UPSTREAM_RUN.finditer(text))
        words = (list(word.group()) for word in _WORD.finditer(text))
        found = _first(runs) or _first(words) or _first(_windows(_CAPITAL.findall(text)))
        if found:
            return found
    return ()


def pairwise(found: Order, gold: Order) -> float:
    """The share of the six pairs of events whose order is right; 0 without a permutation."""
    if not found or not gold:
        return 0.0
    pairs = list(combinations(gold, 2))
    return sum(found.index(first) < found.index(second) for first, second in pairs) / len(pairs)


def _letters(run: str) -> list[str]:
    """The options of a run, without the letters of its joining words."""
    lone = re.findall(_LETTER, run)
    return [letter.upper() for letter in lone or re.findall("[A-Da-d]", run)]


def _last_capitals(text: str) -> Order:
    """The last four lone capitals in a row that are a permutation, unless they head the options repeated."""
    options = {match.start(match.lastindex or 0) for match in _OPTION.finditer(text)}
    places = [match.start() for match in _CAPITAL.finditer(text)]
    for window in reversed(list(_windows(places))):
        found = _permutation([text[place] for place in window])
        if found and not (found == EVENTS and options.issuperset(window)):
            return found
    return ()


def _windows(values: Sequence[_T]) -> Iterable[Sequence[_T]]:
    return (values[start : start + 4] for start in range(len(values) - 3))


def _first(candidates: Iterable[Sequence[str]]) -> Order:
    return next(filter(None, map(_permutation, candidates)), ())


def _permutation(letters: Sequence[str]) -> Order:
    return tuple(letters) if sorted(letters) == list(EVENTS) else ()
