"""Accuracy: the share of answers that begin with the reference, line by line.

Both sides are normalised: Unicode NFKC, case folded, runs of white space made one space, marks of sentences, quotations
and Markdown removed at both ends. Signs that distinguish answers stay: '-1', 'A+', 'C#' and '50%' are not '1', 'A', 'C'
and '50'.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from ...errors import TrexError
from ..task import Item
from .columns import column_text
from .measure import mean
from .metric_example import MetricExample

_EDGES = " .,;:!?\"'`*_()[]{}“”‘’«»…。，；：！？、"
_BULLETS = re.compile(r"^(?:[#>•–-]+ +)+")


def normalise(text: str) -> str:
    """The form in which answers are compared. Text that is nothing but punctuation keeps it."""
    folded = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return _BULLETS.sub("", folded.strip(_EDGES)).strip(_EDGES) or folded


def after_thoughts(text: str) -> str:
    """A text without its reasoning: what follows `</think>`, up to a `<think>` that never ends."""
    return text.rpartition("</think>")[2].partition("<think>")[0]


def first_line(text: str) -> str:
    """The first line that isn't blank; '' for a blank answer."""
    return next((line for line in text.splitlines() if line.strip()), "")


class Accuracy:
    """1 if the answer's first line equals the reference, normalised, else 0.

    Of a reference with several lines, as many lines of the answer must be equal; blank lines do not count, and what
    follows in the answer is not read. Reasoning up to `</think>` is passed over. An empty answer is wrong, unless the
    reference is empty too. `secondary`: the share of empty answers.
    """

    name = "accuracy"
    aggregate = staticmethod(mean)
    examples = (
        MetricExample(answer=" Positive.\nBecause it is warm.", reference="positive", value=1),
        MetricExample(answer="It is positive", reference="positive", value=0),
        MetricExample(answer="milk\neggs\n\nEnjoy!", reference="milk\neggs", value=1),
    )

    def score_items(self, items: Sequence[Item], predictions: Sequence[str]) -> list[float]:
        """1.0 or 0.0 per item. Raises TrexError for no items."""
        if not items:
            raise TrexError("accuracy of no items is not defined")
        return [
            float(_is_right(column_text(item, "reference", self.name), answer))
            for item, answer in zip(items, predictions, strict=True)
        ]

    def secondary(self, items: Sequence[Item], predictions: Sequence[str]) -> dict[str, float]:
        """See the class."""
        return {"empty": sum(not answer.strip() for answer in predictions) / len(predictions)}


def _is_right(reference: str, answer: str) -> bool:
    wanted, found = _lines(reference), _lines(answer)
    return found[: max(1, len(wanted))] == wanted


def _lines(text: str) -> list[str]:
    """The lines that are not blank, normalised."""
    return [normalise(line) for line in after_thoughts(text).splitlines() if line.strip()]
