"""F1 of sets and of characters, which several sub-tasks share.

Sources: `compute_f1_two_sets` of LawBench's evaluation/utils/function_utils.py, and CAIL 2021's reading
comprehension score in evaluation/utils/rc_f1.py (commit e30981b).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Set
from typing import Any


def set_f1(gold: Set[Any], found: Set[Any]) -> float:
    """F1 of two sets; 0 if they share nothing."""
    common = len(gold & found)
    if not common:
        return 0.0
    precision, recall = common / len(found), common / len(gold)
    return 2 * precision * recall / (precision + recall)


def character_f1(gold: str, found: str) -> float:
    """F1 of the multisets of letters and digits, lower-cased; with none on a side, 1 if there's none on both."""
    left, right = Counter(_characters(gold)), Counter(_characters(found))
    common = (left & right).total()
    if not left or not right:
        return float(left == right)
    if not common:
        return 0.0
    precision, recall = common / right.total(), common / left.total()
    return (2 * precision * recall) / (precision + recall)


def _characters(text: str) -> list[str]:
    return [char for char in text.lower() if char.isdigit() or char.isalpha()]
