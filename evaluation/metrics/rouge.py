"""ROUGE-1 of clinical notes, over the whole note or one of its four divisions.

Yim et al., "ACI-Bench", Scientific Data 2023; https://github.com/wyim/aci-bench at b909b2b
(`evaluation/evaluate_fullnote.py`, `baselines/sectiontagger.py`). The F1 of words (runs of a-z and 0-9 after
lower-casing, no stemmer) per note by the library rouge-score 0.1.2 (Lin 2004), averaged over notes.

    gold 'Cough for two days.', answer 'Dry cough, two days'  → 0.75: three of four words on both sides

A division begins at the first line that starts with one of its headings and ends at the next division's; a
note that begins without a heading begins with the subjective one. The upstream form keeps what the official
files do to texts:

- A prediction that pandas reads as missing ('', 'NA', 'null', …) is the word 'nan'.
- Line breaks within a division are the word 'lf1', because they are written as '__lf1__' when it is cut out.
- A missing division is the word 'empty', so that two missing ones score 1; but one that no note of the whole
  set has is '', and two of those score 0. A row's value thus depends on the other rows.

Corrected, with the reason:
- An empty answer, or one that says 'NA', is what it says, and line breaks are no words: none of that is a note.
- A division that is missing on both sides scores 1, on one side 0, whatever other notes have.
- Headings may carry Markdown's signs ('## PLAN', '**RESULTS**'), which hid them.
- What precedes the end of a `</think>` block is not the note.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from ...errors import InputError
from ..task import Item
from .columns import column_text, one_of
from .measure import mean
from .metric_example import MetricExample

MISSING_DIVISION = "#####EMPTY#####"
LINE_BREAK = "__lf1__"

HEADINGS = {
    "subjective": (
        *(
            "cc :",
            "chief complaint :",
            "reason for visit :",
            "chief complaint",
            "history :",
            "hpi",
            "hpi notes :",
        ),
        *("history of present illness", "interval history :", "interval hx :", "subjective :", "ros :"),
        *("review of system :", "review of systems :", "social history", "past history"),
    ),
    "objective_exam": (
        *(
            "physical exam :",
            "physical examination :",
            "pe :",
            "physical findings :",
            "examination :",
            "exam :",
        ),
        *("physical examination", "physical exam", "vitals reviewed"),
    ),
    "objective_results": ("results :", "findings :", "results"),
    "assessment_and_plan": (
        *("assessment :", "a:", "plan :", "plan of care :", "p:", "medical decision-making plan :"),
        *("summary plan", "ap :", "a / p :", "assessment and plan :", "assessment & plan :"),
        *("disposition / plan :", "assessment and plan"),
    ),
}
"""By division, in the order in which a line is tried. A final ' :' may be missing where nothing else follows."""

DIVISIONS = tuple(HEADINGS)

MISSING_NOTES = frozenset(
    (
        *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>"),
        *("N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
    )
)
"""What pandas 2 reads as missing in a CSV file."""


class Rouge1:
    """The F1 of single words per note, in 0…1. Items carry `note`.

    `subtask` is one of the four divisions, or None for the whole note. `secondary`: mean precision and recall, the
    share of blank answers, for whole notes the four divisions, and for the corrected form the official score.
    """

    aggregate = staticmethod(mean)

    examples = (
        MetricExample(answer="Dry cough, two days", columns={"note": "Cough for two days."}, value=0.75),
    )

    def __init__(self, subtask: str | None = None, upstream: bool = False) -> None:
        """Raises InputError for a subtask that is no division, and without the library rouge-score."""
        self._division = None if subtask is None else one_of(subtask, DIVISIONS, "rouge1")
        self._upstream = upstream
        _scorer()

    @property
    def name(self) -> str:
        """The score's name in tables."""
        return ":".join(filter(None, ("rouge1", self._division))) + ("/upstream" if self._upstream else "")

    def score_items(self, items: Sequence[Item], predictions: Sequence[str]) -> list[float]:
        """F1 per item. Raises InputError for a row without `note`."""
        return [f1 for _, _, f1 in self._scores(items, predictions)]

    def secondary(self, items: Sequence[Item], predictions: Sequence[str]) -> dict[str, float]:
        """See the class."""
        scores = self._scores(items, predictions)
        figures = {
            "precision": self.aggregate([precision for precision, _, _ in scores]),
            "recall": self.aggregate([recall for _, recall, _ in scores]),
            "empty": sum(not answer.strip() for answer in predictions) / len(predictions),
        }
        if self._division is None:
            for division in DIVISIONS:
                part = Rouge1(division, self._upstream)
                figures[division] = part.aggregate(part.score_items(items, predictions))
        if not self._upstream:
            official = Rouge1(self._division, upstream=True)
            figures[f"{self.name}/upstream"] = official.aggregate(official.score_items(items, predictions))
        return figures

    def _scores(self, items: Sequence[Item], predictions: Sequence[str]) -> list[tuple[float, float, float]]:
        notes = [_note(item) for item in items]
        if self._upstream:
            answers = ["nan" if answer in MISSING_NOTES else answer for answer in predictions]
            if self._division is not None:
                notes = _official_divisions(notes, self._division)
                answers = _official_divisions(answers, self._division)
            return [rouge1(note, answer) for note, answer in zip(notes, answers, strict=True)]
        answers = [answer.rpartition("</think>")[2] for answer in predictions]
        if self._division is None:
            return [rouge1(note, answer) for note, answer in zip(notes, answers, strict=True)]
        pairs = zip(notes, answers, strict=True)
        return [_division_score(note, answer, self._division) for note, answer in pairs]


def rouge1(note: str, answer: str) -> tuple[float, float, float]:
    """Precision, recall and F1 of the words of an answer."""
    score = _scorer().score(note, answer)["rouge1"]
    return float(score.precision), float(score.recall), float(score.fmeasure)


def divisions(text: str) -> dict[str, str]:
    """The divisions that a text has, by name, each with its heading."""
    starts: dict[str, int] = {}
    offset = 0
    for line in text.split("\n"):
        division = _division_of(line)
        if division is None and offset == 0:
            division = "subjective"
        if division is not None:
            starts.setdefault(division, offset)
        offset += len(line) + 1
    ends = [*list(starts.values())[1:], len(text)]
    return {name: text[start:end] for (name, start), end in zip(starts.items(), ends, strict=True)}


def _division_score(note: str, answer: str, division: str) -> tuple[float, float, float]:
    plain = re.sub(r"(?m)^[#*_>\s]+|[*_]+(?=:?\s*$)", lambda m: "\n" * m.group().count("\n"), answer)
    wanted, given = (divisions(text).get(division, "").strip() for text in (note, plain))
    if not wanted and not given:
        return 1.0, 1.0, 1.0
    return rouge1(wanted, given)


def _official_divisions(texts: Sequence[str], division: str) -> list[str]:
    """The division of every text, as the official table holds it."""
    found = [divisions(text.replace(LINE_BREAK, "\n")).get(division) for text in texts]
    if all(part is None for part in found):
        return [""] * len(texts)  # the table has no such column
    return [MISSING_DIVISION if part is None else part.replace("\n", LINE_BREAK) for part in found]


def _division_of(line: str) -> str | None:
    """The division whose heading begins a line."""
    for division, pattern in _patterns().items():
        if pattern.match(line):
            return division
    # In capitals it is an assessment; in small letters a word of reports of imaging.
    return "assessment_and_plan" if re.match(r"\s*IMPRESSION", line) else None


@lru_cache(maxsize=1)
def _patterns() -> dict[str, re.Pattern[str]]:
    return {
        division: re.compile(rf"\s*(?:{'|'.join(map(_heading, headings))})", re.IGNORECASE)
        for division, headings in HEADINGS.items()
    }


def _heading(heading: str) -> str:
    """The pattern of a heading: spaces may be missing, and a final colon where the line ends."""
    spaced = r"\s*".join(re.escape(word) for word in heading.removesuffix(":").split(" "))
    return rf"{spaced}(?::|\s*$)" if heading.endswith(":") else spaced


def _note(item: Item) -> str:
    return column_text(item, "note", "rouge1")


@lru_cache(maxsize=1)
def _scorer() -> Any:
    try:
        scorer = importlib.import_module("rouge_score.rouge_scorer")
    except ImportError as error:
        raise InputError(
            "notes are compared with rouge-score, which is not installed: pip install 'trex-finetune[ftbench]'"
        ) from error
    return scorer.RougeScorer(["rouge1"], use_stemmer=False)
