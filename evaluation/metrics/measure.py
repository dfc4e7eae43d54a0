"""What a metric measured of a model's answers, checked. A metric may be code of the user, which may do anything."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from ...errors import TrexError
from ..task import Item
from .protocol import Counts, Metric, PooledMetric

T = TypeVar("T")


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


def measure(
    metric: Metric, items: Sequence[Item], predictions: Sequence[Any], *, figures: bool = True
) -> Measured:
    """Measure answers and check the result. A prediction is a text; for a `SampledMetric` a list of texts, for a
    `JudgedMetric` a list of verdicts.

    Without `figures`, no secondary ones are computed: the official form of a scorer may be among them.

    Raises TrexError for no items, a wrong number of values, a value that isn't a finite number, and for whatever the
    metric raises; where one item is the cause, with its id.
    """
    if not items:
        raise TrexError(f"metric {metric.name!r} was given no items to score")
    if len(items) != len(predictions):
        raise TrexError(f"{len(predictions)} predictions for {len(items)} items")
    values = _values(metric, items, predictions)
    secondary = _secondary(metric, items, predictions) if figures else {}
    return Measured(values, secondary, _counts(metric, items, predictions))


def _secondary(metric: Metric, items: Sequence[Item], predictions: Sequence[Any]) -> dict[str, float]:
    found = call(metric.name, "secondary", metric.secondary, items, predictions)
    if not isinstance(found, Mapping) or not all(isinstance(key, str) for key in found):
        raise TrexError(
            f"metric {metric.name!r}: secondary returned {reprlib.repr(found)}; "
            "it must return a mapping of names to numbers, which may be empty"
        )
    return {key: finite(metric.name, value, f"its secondary figure {key!r}") for key, value in found.items()}


def call(name: str, method: str, function: Callable[..., T], *arguments: Any) -> T:
    """Call a metric's method. Raises TrexError for whatever it raises, an exit included."""
    try:
        return function(*arguments)
    except (TrexError, KeyboardInterrupt, MemoryError):
        raise
    except BaseException as error:
        raise TrexError(f"metric {name!r}: {method} raised {described(error)}") from error


def finite(name: str, value: Any, what: str) -> float:
    """A metric's value as a number; `what` it is for. Raises TrexError for what is no finite number."""
    try:
        number = math.nan if isinstance(value, str | bytes) else float(value)
    except Exception:  # a class may raise anything when it is converted
        number = math.nan
    if not math.isfinite(number):
        raise TrexError(
            f"metric {name!r} returned {reprlib.repr(value)} for {what}; a value must be a finite number"
        )
    return number


def described(error: BaseException) -> str:
    """Type and message of an exception on one line."""
    message = " ".join(str(error).split())
    return f"{type(error).__name__}: {message[:300]}" if message else type(error).__name__


def _values(metric: Metric, items: Sequence[Item], predictions: Sequence[str]) -> list[float]:
    def score(items: Sequence[Item], predictions: Sequence[str]) -> list[Any]:
        found: Any = metric.score_items(items, predictions)
        if isinstance(found, str | bytes | Mapping) or not hasattr(found, "__iter__"):
            raise TrexError(
                f"metric {metric.name!r}: score_items returned {reprlib.repr(found)}; "
                "it must return a list with one number for each item"
            )
        return list(found)

    try:
        values = call(metric.name, "score_items", score, items, predictions)
    except TrexError as error:
        if not isinstance(error.__cause__, BaseException):
            raise
        for item, prediction in zip(items, predictions, strict=True):
            call(metric.name, f"score_items of item {item.get('id')}", score, [item], [prediction])
        raise
    if len(values) != len(items):
        raise TrexError(
            f"metric {metric.name!r} returned {len(values)} values for {len(items)} items; "
            "it must return one for each"
        )
    return [
        finite(metric.name, value, f"item {item.get('id', index)}")
        for index, (item, value) in enumerate(zip(items, values, strict=True))
    ]


def _counts(metric: Metric, items: Sequence[Item], predictions: Sequence[str]) -> Counts | None:
    if not isinstance(metric, PooledMetric):
        return None
    found = call(metric.name, "counts", metric.counts, items, predictions)
    try:
        counts = np.asarray(found, dtype=float)
    except (TypeError, ValueError):
        counts = np.empty(0)
    if counts.ndim != 2 or len(counts) != len(items) or not np.isfinite(counts).all():
        raise TrexError(f"metric {metric.name!r} must return a row of finite counts for each item")
    return counts
