"""OpenFinData: Chinese finance, eight sets of multiple-choice questions and one of entities to be listed.

Data: https://github.com/open-compass/OpenFinData. Scorer: OpenCompass (a5acc4b) with its file
`opencompass/datasets/OpenFinData.py`, the configuration `OpenFinData_gen_46dedb.py` and `AccEvaluator`:

    eight sets              the last capital of the answer (of any alphabet) is the gold letter
    entity_recognition      every name of the gold, which joins them by `、`, occurs in the answer

`openfindata/upstream` does just that; OpenCompass reports each set alone, as a percentage, that of
entity_recognition rounded to four decimals of a share. Here scores are shares, and that of all sets together is
the mean over rows. A gold answer that is no text makes upstream crash on names; here that scores 0.

`openfindata` is corrected:

- Letters are read by `options.py`, among the options of the set, so that `600519.SH`, `GDP` or `ROE` after the
  letter do no harm, and full-width letters are letters.
- A row of names scores the F1 of the names listed, in words or as a list in JSON. By upstream's rule an answer that
  repeats the question scores 1 in nine rows of ten, because there is no precision. Names are compared without case,
  white space, list marks and what stands in brackets ('茅台（600519.SH）'); empty items of the gold, which upstream
  always finds, are none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ...errors import InputError
from ..task import Item
from .columns import column, column_text, one_of, row_name
from .measure import mean
from .metric_example import MetricExample
from .protocol import UPSTREAM
from .variants import final, option

ENTITIES = "entity_recognition"
LETTERS = {
    "emotion_identification": "ABC",
    "entity_disambiguation": "ABC",
    "financial_facts": "ABC",
    "data_inspection": "ABCD",
    "financial_terminology": "ABCD",
    "metric_calculation": "ABCD",
    "value_extraction": "ABCD",
    "intent_understanding": "ABCDE",
}
"""The options of each set of multiple-choice questions."""
SUBTASKS = (*LETTERS, ENTITIES)

_JOINT = "、"
_BRACKETS = re.compile(r"\([^()]*\)|（[^（）]*）|\[[^\[\]]*\]|【[^【】]*】")
_LIST_MARK = re.compile(r"^\s*(?:\d+[.):、]\s*|[-*•·]\s*)", re.MULTILINE)
_EDGES = " \t.。:*\"'“”‘’`《》<>!?{}"
_QUOTED_LIST = re.compile(r"\[\s*[\"'“‘]([^\[\]]*)[\"'”’]\s*,?\s*\]")
_QUOTED_JOINT = re.compile(r"[\"'”’]\s*[,、;]\s*[\"'“‘]")


class OpenFinData:
    """The mean over rows: right letters, and for entities the F1 of names (upstream: whether all occur).

    `secondary`: the mean of each set among the items; for the corrected form also 'read', the share of choices that
    could be read, and the official score.
    """

    examples = (
        MetricExample(
            answer="答案是A", columns={"subtask": "emotion_identification", "answer": "A"}, value=1
        ),
    )

    def __init__(self, subtask: str | None = None, upstream: bool = False) -> None:
        """A scorer of one set or of all. Raises InputError for an unknown one."""
        self._subtask = None if subtask is None else one_of(subtask, SUBTASKS, "openfindata")
        self._upstream = upstream

    @property
    def name(self) -> str:
        """The score's name in tables."""
        return f"accuracy{UPSTREAM}" if self._upstream else "accuracy"

    def score_items(self, items: Sequence[Item], predictions: Sequence[str]) -> list[float]:
        """Per item its value in 0…1. Raises InputError for rows without `answer`, or `subtask` if it is needed."""
        score = upstream_value if self._upstream else value
        return [score(item, self._set(item), answer) for item, answer in zip(items, predictions, strict=True)]

    def aggregate(self, values: Sequence[float]) -> float:
        """The mean. Raises TrexError for no values."""
        share = mean(values)
        return round(share, 4) if self._upstream and self._subtask == ENTITIES else share

    def secondary(self, items: Sequence[Item], predictions: Sequence[str]) -> dict[str, float]:
        """See the class."""
        by_set: dict[str, list[float]] = {}
        for item, score in zip(items, self.score_items(items, predictions), strict=True):
            by_set.setdefault(self._set(item), []).append(score)
        figures = {name: sum(values) / len(values) for name, values in by_set.items()}
        if not self._upstream:
            official = OpenFinData(self._subtask, upstream=True)
            figures[f"{self.name}{UPSTREAM}"] = official.aggregate(official.score_items(items, predictions))
            read = [
                _letter(item, self._set(item), answer) != ""
                for item, answer in zip(items, predictions, strict=True)
                if self._set(item) != ENTITIES
            ]
            if read:
                figures["read"] = sum(read) / len(read)
        return figures

    def _set(self, item: Item) -> str:
        """The row's set. Raises InputError where it has none, or another than the scorer's."""
        if self._subtask is not None and "subtask" not in item:
            return self._subtask
        own = one_of(column(item, "subtask", "openfindata"), SUBTASKS, row_name(item))
        if self._subtask not in (None, own):
            raise InputError(f"{row_name(item)} is of the set {own!r}, the metric scores {self._subtask!r}")
        return own


def upstream_value(item: Item, subtask: str, answer: str) -> float:
    """1.0 or 0.0, as the official code judges."""
    gold = column_text(item, "answer", "openfindata")
    if subtask == ENTITIES:
        return float(isinstance(item["answer"], str) and all(name in answer for name in gold.split(_JOINT)))
    return float(next((mark for mark in reversed(answer) if mark.isupper()), "") == gold)


def value(item: Item, subtask: str, answer: str) -> float:
    """What an answer is worth by the corrected rules, in 0…1."""
    gold = column_text(item, "answer", "openfindata")
    if subtask != ENTITIES:
        letter = option(gold, LETTERS[subtask])
        return float(letter != "" and _letter(item, subtask, answer) == letter)
    expected, listed = names(gold), names(answer)
    shared = len(expected & listed)
    return 2 * shared / (len(expected) + len(listed)) if shared else 0.0


def names(text: str) -> set[str]:
    """The names a text lists, in the form in which they are compared: of lists in JSON or Python, else of the text."""
    answer = final(text)
    quoted = [name for found in _QUOTED_LIST.findall(answer) for name in _QUOTED_JOINT.split(found)]
    return {_plain(name) for name in quoted or _listed(answer)} - {""}


def _listed(answer: str) -> list[str]:
    """The parts of a list in words. Brackets hold notes, unless nothing is left without them: '[甲、乙]'."""
    text = _LIST_MARK.sub("\n", _plain_brackets(answer))
    if not text.strip(_EDGES) or text.rstrip().endswith(":"):
        text = _LIST_MARK.sub("\n", re.sub(r"[()（）\[\]【】]", "、", answer))
    listed = text.rpartition(":")[2] if text.partition(":")[2].strip() else text
    return re.split(r"[、,;\n]", listed)


def _plain_brackets(text: str) -> str:
    """A text without what stands in brackets, two deep."""
    return _BRACKETS.sub("", _BRACKETS.sub("", text))


def _plain(name: str) -> str:
    return re.sub(r"\s+", "", _plain_brackets(name).strip(_EDGES)).casefold()


def _letter(item: Item, subtask: str, answer: str) -> str:
    letters = LETTERS[subtask]
    texts = {
        letter: column_text(item, letter, "openfindata") for letter in letters if item.get(letter) is not None
    }
    return option(answer, letters, texts)
