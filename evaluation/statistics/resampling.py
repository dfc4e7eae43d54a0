"""Scores as functions of their items, for resampling, leaving items out and swapping them between systems.

Most scores are a function of sums over items: a mean is linear in the sum of the values, macro-F1 is pooled from sums
of counts. Such a score of thousands of resamples is one matrix product (`Sums`). Any other score, for example a median,
is computed again for every resample (`Aggregate`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...errors import TrexError
from ..metrics.measure import Measured, call, finite, mean
from ..metrics.protocol import Counts, Metric, PooledMetric

RESAMPLES = 2000
_CHUNK = 500  # resamples in memory at once
_PROBES = 6
_ONE_THREAD = 1 << 18  # multiplications up to which OpenBLAS uses one thread
_FEWEST_DRAWS = 4
MOST_CACHED = 2_000_000
"""Draws of at most so many numbers (16 MB) are cached for the next score of the same number of items."""

MOST_LEFT_OUT = 2000
"""An `Aggregate` of more items is not computed again without each item: the time grows with their square."""


class ScoreEstimator(Protocol):
    """A score of n items that can be computed for resamples of these items."""

    @property
    def n(self) -> int: ...

    @property
    def value(self) -> float: ...

    def resampled(self, weights: Counts) -> Counts:
        """Scores of resamples. `weights`, of shape (b, n), contains how often each item was drawn."""

    def left_out(self) -> Counts:
        """The score without each item in turn, of shape (n,); empty if that would take too long."""


@dataclass(frozen=True)
class Sums:
    """A score of sums over items: `rows` has shape (n, k), `score` maps sums (..., k) to (...)."""

    rows: Counts
    score: Callable[[Counts], Counts]
    slope: float | None = None
    """The slope if the score is linear in the mean of a single column, else None."""

    @property
    def n(self) -> int:
        return len(self.rows)

    @property
    def value(self) -> float:
        return float(self.score(self.rows.sum(axis=0)))

    def resampled(self, weights: Counts) -> Counts:
        return self.score(product(weights, self.rows))

    def left_out(self) -> Counts:
        # Scaled to n items, because a score may assume the number of items.
        return self.score((self.rows.sum(axis=0) - self.rows) * (self.n / max(1, self.n - 1)))


@dataclass(frozen=True)
class Aggregate:
    """A score of values that is not linear in their mean."""

    values: Counts
    aggregate: Callable[[Sequence[float]], float]

    @property
    def n(self) -> int:
        return len(self.values)

    @property
    def value(self) -> float:
        return float(self.aggregate(self.values.tolist()))

    def resampled(self, weights: Counts) -> Counts:
        drawn = (np.repeat(self.values, row.astype(int)) for row in weights)
        return np.array([float(self.aggregate(values.tolist())) for values in drawn])

    def left_out(self) -> Counts:
        if not 1 < self.n <= MOST_LEFT_OUT:
            return np.empty(0)
        values = self.values.tolist()
        return np.array([float(self.aggregate(values[:i] + values[i + 1 :])) for i in range(self.n)])


_Form = TypeVar("_Form", Sums, Aggregate)


def estimate_of(metric: Metric, measured: Measured) -> Sums | Aggregate:
    """A metric's score as a function of the items.

    Raises TrexError for no items and for a score or a value that is not finite.
    """
    if measured.counts is not None and isinstance(metric, PooledMetric):
        return of_counts(metric.name, measured.counts, partial(_pooled, metric))
    aggregate = mean if metric.aggregate is mean else partial(_aggregated, metric)
    return of_values(metric.name, measured.values, aggregate)


def of_counts(name: str, counts: Counts, pooled: Callable[[Counts], Counts]) -> Sums:
    """A score pooled from counts, shape (n, k). Raises TrexError as `estimate_of` does."""
    return _checked(name, Sums(np.asarray(counts, dtype=float), pooled), counts)


def of_values(
    name: str, values: Sequence[float], aggregate: Callable[[Sequence[float]], float] = mean
) -> Sums | Aggregate:
    """An aggregate of values; `Sums` if it is linear in their mean. Raises TrexError as `estimate_of` does."""
    array = np.asarray(values, dtype=float)
    general = _checked(name, Aggregate(array, aggregate), array)
    linear = (0.0, 1.0) if aggregate is mean else _linear_form(array, aggregate)
    if linear is None:
        return general
    offset, slope = linear
    n = len(array)
    return Sums(array[:, None], lambda sums: offset + slope * sums[..., 0] / n, slope)


def _aggregated(metric: Metric, values: Sequence[float]) -> float:
    return finite(metric.name, call(metric.name, "aggregate", metric.aggregate, values), "aggregate")


def _pooled(metric: PooledMetric, totals: Counts) -> Counts:
    found = call(metric.name, "pooled", metric.pooled, totals)
    try:
        scores = np.asarray(found, dtype=float)
    except (TypeError, ValueError):
        scores = np.empty(0)
    if scores.shape != totals.shape[:-1]:
        raise TrexError(f"metric {metric.name!r}: pooled must return one number for each row of sums")
    return scores


def _checked(name: str, estimate: _Form, numbers: Counts) -> _Form:
    if estimate.n == 0:
        raise TrexError(f"metric {name!r}: no items were scored, so there is no score")
    if not (math.isfinite(estimate.value) and bool(np.isfinite(numbers).all())):
        raise TrexError(
            f"metric {name!r}: the score is not a finite number; check the metric's score_items and aggregate"
        )
    return estimate


def _linear_form(array: Counts, aggregate: Callable[[Sequence[float]], float]) -> tuple[float, float] | None:
    """Offset and slope if the aggregate is linear in the mean on all probes, else None.

    The probes are the values and resamples of them. Of right-or-wrong values, all right and all wrong are added; of
    equal values, their halves: so the slope is known for a model without failures.
    """
    n, generator = len(array), np.random.default_rng(len(array))
    probes = [array, *(array[generator.integers(0, n, n)] for _ in range(_PROBES))]
    if is_binary(array):
        probes += [np.zeros(n), np.ones(n)]
    elif bool((array == array[0]).all()):
        probes.append(array / 2)
    means = np.array([probe.mean() for probe in probes])
    scores = np.array([float(aggregate(probe.tolist())) for probe in probes])
    low, high = int(means.argmin()), int(means.argmax())
    spread = float(means[high] - means[low])
    slope = float(scores[high] - scores[low]) / spread if spread > 0 else 1.0
    offset = float(scores[0] - slope * means[0])
    size = max(1.0, float(np.abs(scores).max()))
    is_linear = float(np.abs(offset + slope * means - scores).max()) <= 1e-9 * size
    return (offset, slope) if is_linear else None


def is_binary(array: Counts) -> bool:
    """Whether all values are 0 or 1."""
    return bool(np.isin(array, (0.0, 1.0)).all())


def item_draws(n: int, resamples: int = RESAMPLES, seed: int = 0) -> Iterator[Counts]:
    """How often each of n items is drawn in resamples of n with replacement, in chunks of shape (b, n)."""
    return _chunks(_item_chunk, n, resamples, seed)


def sign_draws(n: int, count: int = RESAMPLES, seed: int = 0) -> Iterator[Counts]:
    """Fair signs, -1 or 1 for each of n items, in chunks of shape (b, n)."""
    return _chunks(_sign_chunk, n, count, seed)


def product(draws: Counts, rows: Counts) -> Counts:
    """`draws @ rows`, in slices small enough for OpenBLAS to use one thread, where that is no slower.

    While a training uses all cores, several threads that wait for each other take a hundred times as long.
    """
    step = _ONE_THREAD // max(1, rows.size)
    if step < _FEWEST_DRAWS:
        return draws @ rows
    return np.concatenate([draws[start : start + step] @ rows for start in range(0, len(draws), step)])


def _item_chunk(generator: np.random.Generator, size: int, n: int) -> Counts:
    drawn = generator.integers(0, n, (size, n))
    return np.array([np.bincount(row, minlength=n) for row in drawn], dtype=float)


def _sign_chunk(generator: np.random.Generator, size: int, n: int) -> Counts:
    return generator.integers(0, 2, (size, n), dtype=np.int8).astype(float) * 2 - 1


_Chunk = Callable[[np.random.Generator, int, int], Counts]


def _chunks(chunk: _Chunk, n: int, count: int, seed: int) -> Iterator[Counts]:
    # A run scores the same number of items many times, always with the same draws.
    return iter(_cached(chunk, n, count, seed)) if n * count <= MOST_CACHED else _fresh(chunk, n, count, seed)


@lru_cache(maxsize=2)
def _cached(chunk: _Chunk, n: int, count: int, seed: int) -> tuple[Counts, ...]:
    chunks = tuple(_fresh(chunk, n, count, seed))
    for part in chunks:
        part.setflags(write=False)
    return chunks


def _fresh(chunk: _Chunk, n: int, count: int, seed: int) -> Iterator[Counts]:
    generator = np.random.default_rng(seed)
    for start in range(0, count, _CHUNK):
        yield chunk(generator, min(_CHUNK, count - start), n)


def replicates(
    estimates: Sequence[ScoreEstimator], *, resamples: int = RESAMPLES, seed: int = 0
) -> NDArray[np.float64]:
    """Scores of several systems on the same draws of the same items, shape (systems, resamples).

    Raises TrexError for systems with different numbers of items, and for a resample without a finite score.
    """
    n = same_items(estimates)
    drawn = [
        np.stack([estimate.resampled(weights) for estimate in estimates])
        for weights in item_draws(n, resamples, seed)
    ]
    scores: NDArray[np.float64] = np.concatenate(drawn, axis=1)
    if not np.isfinite(scores).all():
        raise TrexError("a resample's score is not a finite number; check the metric's aggregate or counts")
    return scores


def same_items(estimates: Sequence[ScoreEstimator]) -> int:
    """The number of items of paired systems. Raises TrexError if they differ in it."""
    sizes = sorted({estimate.n for estimate in estimates})
    if len(sizes) != 1:
        raise TrexError(f"a paired comparison needs the same items on all sides, got {sizes} items")
    return sizes[0]
