"""Contains: whether the reference occurs in the answer."""

from __future__ import annotations

import re
import unicodedata
from typing import Annotated

from pydantic import Field

from .metric_example import MetricExample
from .reference_metric import Alternatives, ReferenceMetric


class Contains(ReferenceMetric):
    """1 if the answer contains the reference, else 0. White space and line breaks are one space.

    An answer that lists everything contains the reference too: prefer `exact_match` where it is possible. An empty
    reference is contained in an empty answer only.
    """

    name = "contains"
    examples = (
        MetricExample(answer="I would say PARIS, in France.", reference="Paris", value=1),
        MetricExample(answer="Several cats", reference="cat", options={"whole_words": True}, value=0),
    )

    def __init__(
        self,
        ignore_case: Annotated[bool, Field(description="Compare without case")] = True,
        whole_words: Annotated[
            bool, Field(description="Only where no letter or digit precedes or follows")
        ] = False,
        alternatives: Alternatives = None,
    ) -> None:
        super().__init__(alternatives)
        self._ignore_case = ignore_case
        self._whole_words = whole_words

    def compare(self, reference: str, answer: str) -> float:
        wanted, text = self._form(reference), self._form(answer)
        if not wanted:
            return float(not text)
        if self._whole_words:
            return float(re.search(rf"(?<!\w){re.escape(wanted)}(?!\w)", text) is not None)
        return float(wanted in text)

    def _form(self, text: str) -> str:
        plain = " ".join(unicodedata.normalize("NFKC", text).split())
        return plain.casefold() if self._ignore_case else plain
