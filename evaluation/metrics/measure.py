"""What a metric measured of a model's answers, checked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import TrexError
from ..task import Item
from .protocol import Counts, Metric, PooledMetric


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean, correctly rounded: the aggregate of most metrics. Raises TrexError for no values."""
    if len(values) == 0:
        raise TrexError("the mean of no items is not defined")
    return math.fsum(values) / len(values)


@dataclass(frozen=True)
class Measured:
    """The values of items and further figures; `counts` for a pooled metric only."""

    values: list[float]
    secondary: dict[str, float]
    counts: Counts | None = None


def measure(metric: Metric, items: Sequence[Item], predictions: Sequence[str]) -> Measured:
    """Measure answers and check the result.

    Raises TrexError for no items, a wrong number of values, or a value that isn't finite.
    """
    if not items:
        raise TrexError(f"metric {metric.name!r} was given no items to score")
    if len(items) != len(predictions):
        raise TrexError(f"{len(predictions)} predictions for {len(items)} items")
    values = [float(value) for value in metric.score_items(items, predictions)]
    if len(values) != len(items):
        raise TrexError(
            f"metric {metric.name!r} returned {len(values)} values for {len(items)} items; "
            "it must return one for each"
        )
    for index, value in enumerate(values):
        if not math.isfinite(value):
            raise TrexError(
                f"metric {metric.name!r} returned {value} for item {items[index].get('id', index)}; "
                "a value must be a finite number"
            )
    secondary = {key: float(value) for key, value in metric.secondary(items, predictions).items()}
    for key, value in secondary.items():
        if not math.isfinite(value):
            raise TrexError(f"metric {metric.name!r} returned {value} for its secondary figure {key!r}")
    return Measured(values, secondary, _counts(metric, items, predictions))


def _counts(metric: Metric, items: Sequence[Item], predictions: Sequence[str]) -> Counts | None:
    if not isinstance(metric, PooledMetric):
        return None
    counts = np.asarray(metric.counts(items, predictions), dtype=float)
    if counts.ndim != 2 or len(counts) != len(items) or not np.isfinite(counts).all():
        raise TrexError(f"metric {metric.name!r} must return a row of finite counts for each item")
    return counts
