"""Exact match: whether the whole answer is the reference, or one of several right answers."""

from __future__ import annotations

import string
from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import Field

from .accuracy import normalise
from .metric_example import MetricExample
from .reference_metric import Alternatives, ReferenceMetric

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = frozenset(("a", "an", "the"))


def squad_form(text: str) -> str:
    """SQuAD's normal form: lower case, no punctuation, no English articles, single spaces.

    Rajpurkar et al. 2016, arXiv 1606.05250, `evaluate-v1.1.py`. Like there, punctuation is ASCII's.
    """
    words = text.lower().translate(_PUNCTUATION).split()
    return " ".join(word for word in words if word not in _ARTICLES)


_FORMS: dict[str, Callable[[str], str]] = {"light": normalise, "squad": squad_form, "none": str.strip}


class ExactMatch(ReferenceMetric):
    """1 if the answer equals the reference after normalisation, else 0.

    All lines of the answer count, and white space and line breaks are one space. An empty answer is wrong, unless the
    reference is empty too.
    """

    name = "exact_match"
    examples = (
        MetricExample(answer="The Eiffel Tower.", reference="the Eiffel tower", value=1),
        MetricExample(answer="Eiffel Tower", reference="The Eiffel Tower!", options={"normalise": "squad"}, value=1),
        MetricExample(answer="milk\neggs", reference="milk\neggs", value=1),
        MetricExample(answer="milk\neggs\nbread", reference="milk\neggs", value=0),
    )  # fmt: skip

    def __init__(
        self,
        normalise: Annotated[
            Literal["light", "squad", "none"],
            Field(
                description="'light' ignores case, white space and punctuation at both ends; 'squad' all punctuation "
                "and English articles; 'none' only white space at both ends"
            ),
        ] = "light",
        alternatives: Alternatives = None,
    ) -> None:
        super().__init__(alternatives)
        self._form = _FORMS[normalise]

    def compare(self, reference: str, answer: str) -> float:
        return float(self._form(reference) == self._form(answer))
