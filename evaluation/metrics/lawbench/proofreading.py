"""2-1 proofreading: corpus-level F0.5 of the corrections made, as ChERRANT counts them at character level.

A sentence is aligned with the published correction and with the answer; a correction of the answer is right if
the published one makes the same at the same place. Counts are summed over all rows before F is taken, so the score
is no mean. Officially (`wsjd.py` and evaluation/utils, commit e30981b):

* the answer is cut to the length of the published one and five characters, so that 修改后的句子： pushes its end out;
* where several alignments are equally cheap the corrections of all are counted, and those that they share as often
  as they share them; a sentence may thus weigh many times another;
* alignments depend on a thesaurus and a confusion table (see `lexicon`), and those that take over ten seconds are
  scored as if 无 had been answered. Here the number of alignments decides, `_TOO_MANY`: what a clock says can't be
  followed to the letter;
* 没有错误 is an answer that corrects nothing, 无法标注 one that is right if there was nothing to correct, and a
  published 无法标注 takes its row out.

A carriage return inside a text, an empty sentence and a prompt without 句子： are what it crashes on: nothing of the
row's corrections is then found, and one wrong is counted.

Corrected: a label, an introduction ending in a colon, quotes and a mark <eoa> around the sentence are taken off; the
answer is the line most like the sentence and is not cut; one alignment counts, the preferred one; and characters
cost the same whatever they mean, so that nothing need be fetched. F is not rounded.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache

from .alignment import edit_lists, far_apart, operations, substitution, ways
from .answer_text import without_label
from .case import Case, Outcome, malformed
from .edits import NOTHING, Correction, corrections
from .lexicon import Lexicon, official

_MARK = "句子：\n"
_MISSING = "[缺失成分]"
_UNMARKABLE: Correction = (-1, -1, NOTHING)
_TOO_MANY = 20_000_000
"""Alignments, times tokens in them, that the official code can't walk through in ten seconds."""

BETA = 0.5


def f_score(right: float, wrong: float, missed: float) -> float:
    """F0.5 of counts; precision is 1 without a wrong correction and recall 1 without a missed one."""
    precision = right / (right + wrong) if wrong else 1.0
    recall = right / (right + missed) if missed else 1.0
    weight = BETA**2
    return (1 + weight) * precision * recall / (weight * precision + recall) if precision + recall else 0.0


def upstream(case: Case) -> Outcome:
    """The official counts; the value is the F0.5 of the row alone, rounded as the official code does."""
    gold: Mapping[Correction, int] = {}
    lexicon = official()
    try:
        start = case.prompt.index(_MARK) + len(_MARK)
        source = _squeezed(_one_line(case.prompt[start:].split("\n")[0]))
        reference = _squeezed(_one_line(case.reference).rstrip())
        answer = _one_line(case.prediction)
        if len(answer) - len(case.reference) > 5:
            answer = answer[: len(case.reference) + 5]
        gold = _counted(source, reference, lexicon)
        found = _counted(source, _squeezed((answer or "无内容").rstrip()), lexicon)
    except ValueError:
        return Outcome(edits=(0, 1, sum(gold.values())))
    counts = _compared(found, gold)
    return Outcome(round(f_score(*counts), 4), edits=counts)


def _compared(found: Mapping[Correction, int], gold: Mapping[Correction, int]) -> tuple[int, int, int]:
    """Right, wrong and missed; what is right weighs as often as the published side has it."""
    if _UNMARKABLE in gold:
        return 0, 0, 0
    if _UNMARKABLE in found and not gold:
        return 1, 0, 0
    right = sum(gold[edit] for edit in found if edit in gold)
    wrong = sum(count for edit, count in found.items() if edit not in gold)
    missed = sum(count for edit, count in gold.items() if edit not in found)
    return right, wrong, missed


def _one_line(text: str) -> str:
    return re.sub(r"[\n\t]", "", text)


def _squeezed(text: str) -> str:
    """A text without white space.

    Raises ValueError for what the official code's files can't hold: a carriage return, half a surrogate pair.
    """
    text.encode()
    if "\r" in text:
        raise ValueError("a carriage return inside a text")
    return "".join(text.split())


def _tokens(text: str) -> list[str]:
    """Characters, but the placeholder of a missing part is one."""
    return " ".join(text).replace(" ".join(_MISSING), _MISSING).split(" ")


@lru_cache(maxsize=2048)
def _counted(source: str, target: str, lexicon: Lexicon) -> Counter[Correction]:
    """How often each correction occurs in the different alignments. Raises ValueError for an empty sentence."""
    if not source:
        raise ValueError("an empty sentence")
    target = lexicon.simplify(target) or "无"
    if target in ("没有错误", source):
        return Counter()
    if target == "无法标注":
        return Counter((_UNMARKABLE,))
    tokens, goal = _tokens(source), _tokens(target)
    table = operations(tokens, goal, lambda a, b: _cost(a, b, lexicon))
    if not far_apart(table) and ways(table) * (len(tokens) + len(goal)) > _TOO_MANY:
        return _counted(source, "无", lexicon)
    distinct = {corrections(edits, tokens, goal) for edits in edit_lists(table)}
    return Counter((start, end, _written(text)) for edits in distinct for start, end, text in edits)


def _written(text: str) -> str:
    """A correction's text as it comes back from the official code's files, whose fields | separates."""
    return text.removesuffix("|")


@lru_cache(maxsize=100_000)
def _cost(a: str, b: str, lexicon: Lexicon) -> float:
    return substitution(a, b, lexicon.meaning(a, b), lexicon.sound(a, b))


def corrected(case: Case) -> Outcome:
    """Counts of one alignment each, of the sentence that the answer gives."""
    source, reference = sentence(case), "".join(case.reference.split())
    answer = "".join(corrected_sentence(case.prediction, source).split())
    source = "".join(source.split())
    gold, found = (set(_preferred(source, target)) for target in (reference, answer))
    counts = (len(gold & found), len(found - gold), len(gold - found))
    return Outcome(f_score(*counts), abstained=not answer, edits=counts)


def sentence(case: Case) -> str:
    """The sentence to correct. Raises InputError for a prompt that doesn't state it."""
    _, mark, rest = case.prompt.partition(_MARK)
    text = rest.split("\n")[0].strip()
    if not mark or not text:
        raise malformed(case, "preceded by a prompt that states the sentence after 句子：")
    return text


def corrected_sentence(prediction: str, source: str) -> str:
    """The corrected sentence in an answer: the line most similar to `source`, without label and quotes."""
    lines = [_bare(line) for line in re.sub(r"<\s*eoa\s*>", "\n", prediction).split("\n")]
    matcher = difflib.SequenceMatcher(b=source, autojunk=False)

    def similarity(line: str) -> float:
        matcher.set_seq1(line)
        return matcher.ratio()

    return max(lines, key=similarity)


def _bare(line: str) -> str:
    """A line without label, introduction and quotes: '修改后：“甲方违约。”' → '甲方违约。'."""
    text = without_label(
        line.strip(), r"[^:：，。；]{0,12}(?:修改|纠正|更正|改正)[^:：，。；]{0,10}", "句子", "答案", "回答"
    )
    if len(text) > 1 and (text[0], text[-1]) in {("“", "”"), ('"', '"'), ("「", "」"), ("‘", "’")}:
        text = text[1:-1]
    return text


def _preferred(source: str, target: str) -> tuple[Correction, ...]:
    if source == target:
        return ()
    tokens, goal = list(source), list(target)
    table = operations(tokens, goal, lambda a, b: substitution(a, b, 4 / 6.0, 0.5))
    return corrections(edit_lists(table, every=False)[0], tokens, goal)
