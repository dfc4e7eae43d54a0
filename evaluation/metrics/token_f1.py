"""Token F1: the words that answer and reference share, as SQuAD's scorer counts them."""

from __future__ import annotations

import re
from collections import Counter

from .exact_match import squad_form
from .metric_example import MetricExample
from .reference_metric import ReferenceMetric

_CHARACTER = re.compile(r"([\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af])")


class TokenF1(ReferenceMetric):
    """The F1 of the words shared by answer and reference, in SQuAD's normal form (no case, punctuation or articles).

    Rajpurkar et al. 2016, arXiv 1606.05250. Chinese, Japanese and Korean characters are words of their own. If answer
    or reference has no word, the value is 1 if neither has one, else 0.
    """

    name = "token_f1"
    examples = (
        MetricExample(answer="In the city of Paris", reference="Paris", value=0.4),
        MetricExample(
            answer="Big Apple",
            reference="New York",
            columns={"answers": ["NYC", "the Big Apple"]},
            options={"alternatives": "answers"},
            value=1,
        ),
    )

    def compare(self, reference: str, answer: str) -> float:
        wanted, found = (Counter(_words(text)) for text in (reference, answer))
        if not wanted or not found:
            return float(wanted == found)
        return 2 * (wanted & found).total() / (wanted.total() + found.total())


def _words(text: str) -> list[str]:
    return _CHARACTER.sub(r" \1 ", squad_form(text)).split()
