"""CS-Bench: computer-science questions with a letter, a verdict, a term or an essay for an answer.

Song et al., "CS-Bench: A Comprehensive Benchmark for Large Language Models towards Computer Science Mastery",
arXiv 2406.08587. The scorer is `gen_judgment.py` with `show_result.py` of https://github.com/csbench/csbench
(68d6f39). Rows are upstream's, whose column `Format` is the sub-task:

    Multiple-choice     the first lone letter A–D, in any case, is the gold letter
    Assertion           the first 'true' or 'false' … always 0, because it is compared with 'TRUE' or 'FALSE'
    Fill-in-the-blank   GPT-4's reply to the question whether it is right: its last lone 0 or 1
    Open-ended          GPT-4's mark: its last lone number of 1 to 10, divided by 10

`csbench/upstream` does just that; a judge's reply is taken from upstream's column `teacher_output`. As upstream
without a judge, it leaves judged rows that have no reply out of the score (their value is 0), and like its tables
rows whose `Tag` is neither 'Knowledge' nor 'Reasoning'. Upstream prints two decimals; here nothing is rounded.

`csbench`, the corrected form, needs no judge, and scores every row but the open-ended ones, for which there is no
rule that a search could not exploit; `csbench:Open-ended` gives their overlap of words. What was corrected, and why:

- Assertions are scored at all, in English, Chinese, German and French, whatever the language of the gold.
- The article 'a' was read as option A, and `答案是B` not at all: see `options.py`.
- Gold letters that a translator wrapped in chatter are read alike; rows where none is left don't count.
- A blank is right if it has the gold form, or one of the gold's alternatives, case, hyphens, articles, LaTeX
  and punctuation aside. Synonyms that a judge would accept are lost: the figure is a lower bound.
- A judge's '3/10' is 0.3 (not 1.0), '8.5' is 0.85 (not 0.5), '0/1' is 0 and '1.0' is 1.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from ...errors import InputError
from ..task import Item
from .columns import column, column_text, one_of, row_name
from .measure import mean
from .metric_example import MetricExample
from .protocol import UPSTREAM, Counts
from .variants import STATED, final, option, word_f1

CHOICE, ASSERTION, BLANK, OPEN = SUBTASKS = (
    "Multiple-choice",
    "Assertion",
    "Fill-in-the-blank",
    "Open-ended",
)
LETTERS = "ABCD"
JUDGE = "teacher_output"
"""Upstream's column for what the judge replied."""

_TAGS = ("Knowledge", "Reasoning")
_VERDICTS = {
    **dict.fromkeys(("true", "wahr", "vrai", "vraie", "正确"), True),
    **dict.fromkeys(("false", "untrue", "falsch", "faux", "fausse", "错误"), False),
}
_WEAK_VERDICTS = {
    **dict.fromkeys(
        ("correct", "right", "richtig", "korrekt", "exact", "yes", "ja", "oui", "对", "是", "√"), True
    ),
    **dict.fromkeys(("incorrect", "wrong", "inexact", "no", "nein", "non", "错", "否", "×"), False),
}
_EITHER = re.compile(
    r"true\s*(?:or|/)\s*false|wahr\s*(?:oder|/)\s*falsch|vrai\s*(?:ou|/)\s*faux|正确(?:还是|或|/)错误|对(?:还是|或|/)?错"
)
_NEGATION = r"(?P<no>(?:(?<![a-z])(?:not|nicht|pas)|n['’]t)\s+|不是?|并非|没)?"
_CONCLUDING = "statement|assertion|aussage|affirmation|therefore|thus"
_CONCLUSION = rf"(?:(?<![a-z])(?:{_CONCLUDING})|判断|因此|所以|说法|命题)[\s:,]*"


class CsBench:
    """The share of right answers; pooled, because not every row counts towards it.

    `secondary`: the mean of each format, tag and domain among the items; for the corrected form also 'read', the share
    of choices and assertions whose answer could be read, and the official score.
    """

    aggregate = staticmethod(mean)  # of values; the score is pooled from counts

    examples = (
        MetricExample(
            answer="The answer is B.", columns={"Format": "Multiple-choice", "Answer": "B"}, value=1
        ),
        MetricExample(answer="I think it is false.", columns={"Format": "Assertion", "Answer": "True"}, value=0),
    )  # fmt: skip

    def __init__(self, subtask: str | None = None, upstream: bool = False) -> None:
        """A scorer of one sub-task or of all. Raises InputError for an unknown one."""
        self._subtask = None if subtask is None else one_of(subtask, SUBTASKS, "csbench")
        self._upstream = upstream

    @property
    def name(self) -> str:
        """The score's name in tables."""
        return f"accuracy{UPSTREAM}" if self._upstream else "accuracy"

    def score_items(self, items: Sequence[Item], predictions: Sequence[str]) -> list[float]:
        """Per item its value in 0…1. Raises InputError for rows without `Format` or `Answer`."""
        score = upstream_value if self._upstream else value
        return [
            score(item, self._format(item), answer) for item, answer in zip(items, predictions, strict=True)
        ]

    def counts(self, items: Sequence[Item], predictions: Sequence[str]) -> Counts:
        """Per item its value and 1, or two zeros where the row does not count."""
        weights = np.array([self._is_counted(item) for item in items], dtype=float)
        return np.column_stack([np.array(self.score_items(items, predictions)) * weights, weights])

    def pooled(self, totals: Counts) -> Counts:
        """Values by rows that count; 0 where none does."""
        return np.asarray(totals[..., 0] / np.maximum(totals[..., 1], 1.0))

    def secondary(self, items: Sequence[Item], predictions: Sequence[str]) -> dict[str, float]:
        """See the class."""
        figures = self._means(items, self.score_items(items, predictions))
        if not self._upstream:
            official = CsBench(self._subtask, upstream=True)
            totals = official.counts(items, predictions).sum(axis=0)
            figures[f"{self.name}{UPSTREAM}"] = float(official.pooled(totals))
            pairs = list(zip(items, predictions, strict=True))
            choices = [_option(item, answer) != "" for item, answer in pairs if self._format(item) == CHOICE]
            verdicts = [
                verdict(answer) is not None for item, answer in pairs if self._format(item) == ASSERTION
            ]
            if choices or verdicts:
                figures["read"] = sum(choices + verdicts) / len(choices + verdicts)
        return figures

    def _means(self, items: Sequence[Item], values: Sequence[float]) -> dict[str, float]:
        """The mean value of each format, tag and domain, over rows that a scorer of that format would count."""
        sums: dict[str, float] = {}
        numbers = Counter[str]()
        for item, score in zip(items, values, strict=True):
            kind = self._format(item)
            if self._scorable(item, kind):
                tables = [kind] if kind == OPEN and not self._upstream else [kind, *_tables(item)]
                for table in tables:
                    sums[table] = sums.get(table, 0.0) + score
                    numbers[table] += 1
        return {table: sums[table] / numbers[table] for table in numbers}

    def _is_counted(self, item: Item) -> bool:
        """Whether a row counts towards the score."""
        kind = self._format(item)
        essay = kind == OPEN and self._subtask is None and not self._upstream
        return self._scorable(item, kind) and not essay

    def _scorable(self, item: Item, kind: str) -> bool:
        """Whether there is something to compare a row's answer with."""
        if self._upstream:
            judged = kind in (CHOICE, ASSERTION) or JUDGE in item
            return judged and item.get("Tag", _TAGS[0]) in _TAGS
        return kind != CHOICE or gold_letter(item) != ""

    def _format(self, item: Item) -> str:
        """The row's sub-task. Raises InputError where it has none, or another than the scorer's."""
        if self._subtask is not None and "Format" not in item:
            return self._subtask
        kind = one_of(column(item, "Format", "csbench"), SUBTASKS, row_name(item))
        if self._subtask not in (None, kind):
            raise InputError(f"{row_name(item)} is of format {kind!r}, the metric scores {self._subtask!r}")
        return kind


def upstream_value(item: Item, kind: str, answer: str) -> float:
    """What the official code makes of an answer, in 0…1. 0 for a judged row without the judge's reply."""
    gold = column_text(item, "Answer", "csbench").upper()
    if kind == CHOICE:
        letters = re.findall(r"\b[ABCD]\b", answer, re.IGNORECASE)
        return float(bool(letters) and letters[0].upper() == gold)
    if kind == ASSERTION or JUDGE not in item:
        return 0.0
    pattern, scale = (r"\b(0|1)\b", 1) if kind == BLANK else (r"\b([1-9]|10)\b", 10)
    marks = re.findall(pattern, column_text(item, JUDGE, "csbench"))
    return int(marks[-1]) / scale if marks else 0.0


def value(item: Item, kind: str, answer: str) -> float:
    """What an answer is worth by the corrected rules, in 0…1."""
    if kind == CHOICE:
        letter = gold_letter(item)
        return float(letter != "" and _option(item, answer) == letter)
    gold = column_text(item, "Answer", "csbench")
    if kind == ASSERTION:
        right = verdict(gold)
        return float(right is not None and verdict(answer) == right)
    if JUDGE in item:
        return judged(column_text(item, JUDGE, "csbench"), full=1 if kind == BLANK else 10)
    if kind == BLANK:
        return float(blank(answer) in alternatives(gold))
    return word_f1(answer, gold)


def gold_letter(item: Item) -> str:
    """The gold option of a row; '' where a translator lost it."""
    return option(column_text(item, "Answer", "csbench"), LETTERS)


def verdict(answer: str) -> bool | None:
    """Whether an answer says true; None if it says neither. What is concluded last counts, else what comes first."""
    text = _EITHER.sub(" ", final(answer).lower().replace("正确答案", "答案").replace("正确的答案", "答案"))
    if text.strip(" .'\"*()") in ("t", "f"):
        return text.strip(" .'\"*()") == "t"
    for words in (_VERDICTS, _WEAK_VERDICTS):
        names = "|".join(sorted(words, key=len, reverse=True))
        named = rf"{_NEGATION}(?<![a-zà-ÿ])(?P<word>{names})(?![a-zà-ÿ])"
        link = r"(?:(?:is|ist|est|are)(?![a-z])\s*|是|为|[\s*:'\"“(])*"
        concluded = [*re.finditer(rf"(?:{STATED}|{_CONCLUSION}){link}{named}", text)]
        found = concluded[-1] if concluded else re.search(named, text)
        if found:
            return words[found["word"]] is not bool(found["no"])
    return None


def judged(reply: str, full: int) -> float:
    """A judge's mark as a share of `full`, which is 1 or 10: the last number, by its own denominator if it has one."""
    marks = re.findall(r"(?<![\d.])(\d+(?:\.\d+)?)(?:\s*/\s*(\d+(?:\.\d+)?))?(?![\d])", reply)
    if not marks:
        return 0.0
    mark, whole = float(marks[-1][0]), float(marks[-1][1] or full)
    share = mark / whole if whole else 0.0
    return 0.0 if share > 1 else share if full > 1 else float(share == 1)


def blank(answer: str) -> str:
    """The comparable form of what an answer puts into the blank: what it states, else its first line."""
    text = final(answer)
    stated = re.findall(rf"(?i:{STATED})(?<=[\s:=是为])([^\n]+)", text)
    lines = [line for line in text.splitlines() if line.strip()]
    return comparable(stated[-1] if stated else lines[0] if lines else "")


def alternatives(gold: str) -> set[str]:
    """The comparable forms of a gold term: 'Index node (inode)' is right as a whole and either way."""
    parts = [part for part in re.split(r"\s+or\s+|[;；|]|或者", gold) if part.strip()]
    spelled = [gold, *parts]
    for part in parts:
        both = re.fullmatch(r"(.{2,}?)(?:\s+\(|\s*（)([^()（）]{2,})[)）]", part.strip())
        spelled.extend(both.groups() if both else ())
    return {comparable(form) for form in spelled} - {""}


def comparable(text: str) -> str:
    """The form in which terms are compared: no case, white space, LaTeX, thousands' commas or sentence marks."""
    plain = final(text).casefold().translate({ord(mark): None for mark in '$`*_{}"“”‘’'})
    plain = re.sub(r"\\(?:text|mathrm|left|right|boxed)(?![a-z])|\\", "", plain).strip(" .,;:!?。、，")
    plain = re.sub(r"^(?:the|an?)\s+(?=[a-z]{2})", "", plain)
    plain = re.sub(r"(?<=[^\W\d_]{2})-(?=[^\W\d_]{2})", "", plain)
    plain = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", plain)
    return re.sub(r"\s+", "", plain)


def _option(item: Item, answer: str) -> str:
    texts = {
        letter: column_text(item, letter, "csbench") for letter in LETTERS if item.get(letter) is not None
    }
    return option(answer, LETTERS, texts)


def _tables(item: Item) -> list[str]:
    return [column_text(item, name, "csbench") for name in ("Tag", "Domain") if name in item]
