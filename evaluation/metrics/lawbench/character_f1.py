"""2-5 reading comprehension and 2-10 trigger words, by F1 of characters.

Officially (`ydlj.py`, `sjjc.compute_cfcy`, commit e30981b) 2-5 takes 回答: out of the published answer alone, so
that answer itself scores .935. In 2-10 the words of both sides, split at `;`, are paired by position, and
precision and recall are the paired F1 over the number of words. One word left out moves all that follow, and the
published words in reverse order score .439, although the prompt asks for the words and not for an order; ；and
、 do not separate.

Corrected: the label is taken off both sides of 2-5. In 2-10 the words are paired so that equal ones meet first and
then the most similar, whatever their order, and full-width separators and line breaks separate too.
"""

from __future__ import annotations

import re
from collections import Counter

from .answer_text import fold, without_label
from .case import Case, Outcome
from .set_f1 import character_f1

_LABELS = ("回答", "答案", "触发词", "触发事件的词")


def upstream_reading(case: Case) -> Outcome:
    """2-5."""
    return Outcome(character_f1(case.reference.replace("回答:", ""), case.prediction))


def corrected_reading(case: Case) -> Outcome:
    """2-5."""
    gold, found = (without_label(text, *_LABELS) for text in (case.reference, case.prediction))
    return Outcome(character_f1(gold, found), abstained=not found.strip())


def upstream_triggers(case: Case) -> Outcome:
    """2-10."""
    gold, found = case.reference.split(";"), case.prediction.split(";")
    paired = sum(character_f1(*pair) for pair in zip(gold, found, strict=False))
    precision, recall = paired / len(found), paired / len(gold)
    return Outcome(2 * precision * recall / (precision + recall + 1e-10))


def corrected_triggers(case: Case) -> Outcome:
    """2-10."""
    gold, found = (_words(without_label(text, *_LABELS)) for text in (case.reference, case.prediction))
    if not gold or not found:
        return Outcome(float(not gold and not found), abstained=not found)
    return Outcome(2 * paired(gold, found) / (len(gold) + len(found)), abstained=False)


def _words(text: str) -> list[str]:
    text = re.sub(r"<\s*eoa\s*>", "", fold(text))
    return [word for word in (part.strip(" \t。.\"'“”") for part in re.split(r"[;、,\n]", text)) if word]


def paired(gold: list[str], found: list[str]) -> float:
    """The sum of F1 over pairs: equal words first, then greedily the most similar, each word once."""
    equal = Counter(gold) & Counter(found)
    left, right = list((Counter(gold) - equal).elements()), list((Counter(found) - equal).elements())
    pairs = sorted(
        ((character_f1(a, b), i, j) for i, a in enumerate(left) for j, b in enumerate(right)),
        key=lambda pair: (-pair[0], pair[1], pair[2]),
    )
    total, used_left, used_right = float(equal.total()), set[int](), set[int]()
    for similarity, i, j in pairs:
        if i not in used_left and j not in used_right:
            total += similarity
            used_left.add(i)
            used_right.add(j)
    return total
