"""A worked example of a metric: what `trex metrics` and docs/metrics.md show, and a test computes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class MetricExample:
    """An item, an answer to it, and the value of the answer.

    `answer` is a list for a metric of several answers to an item, a log-probability and a number of tokens for one of
    likelihoods, the verdicts for one of a judge. Without `reference` the item has `columns` only.
    `code` is the text of files, by name, that the options name.
    """

    answer: str | Sequence[Any]
    value: float
    reference: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    columns: Mapping[str, Any] = field(default_factory=dict)
    code: Mapping[str, str] = field(default_factory=dict)

    @property
    def item(self) -> dict[str, Any]:
        """The item as the metric sees it."""
        own = {} if self.reference is None else {"reference": self.reference}
        return {"id": "1", **self.columns, **own}
