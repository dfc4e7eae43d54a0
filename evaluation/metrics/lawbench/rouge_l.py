"""1-1 article recitation, 2-7 summaries, 3-2 articles for a scene, 3-8 consultation: ROUGE-L over words.

Words are jieba's; rouge-chinese compares them sentence by sentence (the union of longest common subsequences)
and gives F1. An empty answer is replaced by 无内容, as the official code does (evaluation/utils/function_utils.py,
commit e30981b); an answer that holds nothing but line breaks after that is what it crashes on.

Corrected: a label before the answer (答案:, 回答:) costs nothing, on either side, and an empty answer scores 0
even where the published answer contains 内容. F is computed from precision and recall without the 1e-8 that
keeps a perfect answer below 1.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cache
from typing import Any

from .answer_text import without_label
from .case import Case, Outcome
from .packages import package

_EMPTY = "无内容"


def upstream(case: Case) -> Outcome:
    """2-7, 3-2, 3-8. Raises ValueError where there is no word to compare."""
    return Outcome(rouge_l(case.prediction, case.reference)["f"])


def upstream_recitation(case: Case) -> Outcome:
    """1-1: `答案:` is taken out of the published answer."""
    return Outcome(rouge_l(case.prediction, case.reference.replace("答案:", ""))["f"])


def corrected(case: Case) -> Outcome:
    """All four."""
    found, gold = (
        without_label(text, "正确答案", "答案", "回答", "摘要") for text in (case.prediction, case.reference)
    )
    if not found.strip():
        return Outcome(abstained=True)
    try:
        scores = rouge_l(found, gold)
    except (ValueError, RecursionError):  # nothing to compare, or a sentence of a thousand words
        return Outcome()
    precision, recall = scores["p"], scores["r"]
    return Outcome(2 * precision * recall / (precision + recall) if precision + recall else 0.0)


def rouge_l(hypothesis: str, reference: str) -> Mapping[str, float]:
    """ROUGE-L's p, r and f of two texts. Raises ValueError if either has no words."""
    tokenizer, scorer = _tools()
    words = " ".join(tokenizer.cut(hypothesis))
    score = scorer.get_scores([words if words.strip() else _EMPTY], [" ".join(tokenizer.cut(reference))])
    return {name: float(value) for name, value in score[0]["rouge-l"].items()}


@cache
def _tools() -> tuple[Any, Any]:
    """jieba and a scorer; of rouge-chinese's three figures only the one that counts is computed."""
    jieba, rouge = package("jieba"), package("rouge_chinese")
    jieba.setLogLevel(logging.WARNING)
    return jieba, rouge.Rouge(metrics=["rouge-l"])
