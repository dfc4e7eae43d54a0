"""Regex: whether an answer matches a regular expression, or what it extracts is the reference."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated

import regex
from pydantic import Field

from ...errors import InputError
from ..task import Item
from .accuracy import after_thoughts, normalise
from .columns import column_text, row_name, shown
from .measure import mean
from .metric_example import MetricExample

TIME_LIMIT = 0.5
"""Processor seconds of one search. A pattern with nested repetition can take exponential time."""


@lru_cache(maxsize=8192)  # a slow search is made once for the value and the secondary figures
def _last_match(pattern: regex.Pattern[str], text: str) -> str | TimeoutError | None:
    """The first group of the last match, or the match; None without a match."""
    try:
        matches = list(pattern.finditer(text, timeout=TIME_LIMIT))
    except TimeoutError as error:
        return error
    return str(matches[-1][1 if pattern.groups else 0] or "") if matches else None


class Regex:
    """1 if the answer matches a regular expression and what it extracts is the reference, else 0.

    The syntax is that of Python's `re`. With a group, the first group of the last match must equal the reference, case,
    white space and punctuation at the ends aside. Without a group a match is enough. Without the option `pattern` the
    reference is the pattern. A search that takes more than half a second of processor time counts as no match.
    `secondary`: the shares of such searches ('timed_out') and of answers that match ('matched').
    """

    name = "regex"
    aggregate = staticmethod(mean)
    examples = (
        MetricExample(
            answer="So the answer is B.", reference="B", options={"pattern": r"answer is ([A-D])"}, value=1
        ),
        MetricExample(answer="2024-05-17", reference=r"^\d{4}-\d\d-\d\d$", value=1),
        MetricExample(answer="17 May", reference=r"^\d{4}-\d\d-\d\d$", value=0),
    )

    def __init__(
        self,
        pattern: Annotated[str | None, Field(description="None takes the reference as the pattern")] = None,
        ignore_case: Annotated[bool, Field(description="Match without case")] = False,
    ) -> None:
        """Raises InputError for a pattern that is no regular expression."""
        self._flags = regex.MULTILINE | (regex.IGNORECASE if ignore_case else 0)
        self._pattern = None if pattern is None else self._compiled(pattern, "metric regex")

    def score_items(self, items: Sequence[Item], predictions: Sequence[str]) -> list[float]:
        """1.0 or 0.0 per item. Raises InputError for a reference that is no regular expression."""
        return [float(self._is_right(item, answer)) for item, answer in zip(items, predictions, strict=True)]

    def secondary(self, items: Sequence[Item], predictions: Sequence[str]) -> dict[str, float]:
        """See the class."""
        found = [self._found(item, answer) for item, answer in zip(items, predictions, strict=True)]
        return {
            "matched": sum(isinstance(each, str) for each in found) / len(found),
            "timed_out": sum(isinstance(each, TimeoutError) for each in found) / len(found),
        }

    def _is_right(self, item: Item, answer: str) -> bool:
        found = self._found(item, answer)
        if not isinstance(found, str):
            return False
        has_group = self._pattern is not None and self._pattern.groups > 0
        return not has_group or normalise(found) == normalise(column_text(item, "reference", self.name))

    def _found(self, item: Item, answer: str) -> str | TimeoutError | None:
        pattern = self._pattern or self._compiled(column_text(item, "reference", self.name), row_name(item))
        return _last_match(pattern, after_thoughts(answer))

    def _compiled(self, pattern: str, where: str) -> regex.Pattern[str]:
        try:
            return regex.compile(pattern, self._flags)
        except (regex.error, RecursionError, OverflowError) as error:
            raise InputError(f"{where}: {shown(pattern)} is no regular expression ({error})") from error
