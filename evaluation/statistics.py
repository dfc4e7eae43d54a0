"""Noise as a number: intervals, paired tests, and scores shrunk towards what was expected."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist

import numpy as np

from ..errors import TrexError
from .metrics import Counts, Measured, Metric, PooledMetric
from .results import Score

RESAMPLES = 2000
SIGN_FLIPS = 10_000
FEW_ITEMS = 30
_CHUNK = 250
Z_95 = NormalDist().inv_cdf(0.975)


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean."""
    return math.fsum(values) / len(values)


def score(
    name: str,
    values: Sequence[float],
    aggregate: Callable[[Sequence[float]], float] = mean,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Score:
    """The aggregate of per-item values with a 95 % percentile bootstrap interval over items (Efron 1979).

    Where the values are 0 or 1, the aggregate is their mean, and they are fewer than 30 or all equal, the
    bootstrap interval is too narrow or empty; then it is Wilson's (1927), and the standard error is the
    interval's half width over 1.96, so that it is never 0. Raises TrexError for no values or a value that
    isn't finite.
    """
    if len(values) == 0:
        raise TrexError(f"{name}: no items were scored, so there is no score")
    array = np.asarray(values, dtype=float)
    value = float(aggregate(array.tolist()))
    if not math.isfinite(value) or not bool(np.isfinite(array).all()):
        raise TrexError(f"{name}: the score is not a finite number; check the metric's rows and aggregate")
    n = len(array)
    binary = bool(np.isin(array, (0.0, 1.0)).all()) and math.isclose(value, mean(values), abs_tol=1e-12)
    if binary and (n < FEW_ITEMS or bool((array == array[0]).all())):
        low, high = wilson(int(array.sum()), n)
        error = (high - low) / (2 * Z_95)
    else:
        drawn = _resampled(array, aggregate, np.random.default_rng(seed), resamples)
        low, high = (float(edge) for edge in np.quantile(drawn, (0.025, 0.975)))
        error = float(drawn.std(ddof=1))
    return Score(name=name, value=value, n=n, ci_low=low, ci_high=high, standard_error=error)


def _resampled(
    array: np.ndarray[tuple[int], np.dtype[np.float64]],
    aggregate: Callable[[Sequence[float]], float],
    generator: np.random.Generator,
    resamples: int,
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    n = len(array)
    draws = (array[generator.integers(0, n, n)] for _ in range(resamples))
    if aggregate is mean:
        return np.array([float(draw.mean()) for draw in draws])
    return np.array([float(aggregate(draw.tolist())) for draw in draws])


def score_measured(metric: Metric, measured: Measured, *, seed: int = 0) -> Score:
    """A metric's score of what it measured: pooled where the metric pools, else its aggregate of values."""
    if measured.counts is not None and isinstance(metric, PooledMetric):
        return pooled_score(metric.name, measured.counts, metric.pooled, seed=seed)
    return score(metric.name, measured.values, metric.aggregate, seed=seed)


def pooled_score(
    name: str,
    counts: Counts,
    pooled: Callable[[Counts], Counts],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Score:
    """The score of counts summed over items, with a 95 % percentile bootstrap interval over items.

    `counts` has shape (n, k), one row an item; `pooled` maps (..., k) to (...). A resample is a vector of how
    often each item was drawn, so that all of them are one matrix product. Raises TrexError for no items and
    for a score that isn't finite.
    """
    n = len(counts)
    if n == 0:
        raise TrexError(f"{name}: no items were scored, so there is no score")
    value = float(pooled(counts.sum(axis=0)))
    generator = np.random.default_rng(seed)
    sizes = [min(_CHUNK, resamples - start) for start in range(0, resamples, _CHUNK)]
    drawn = np.concatenate(
        [pooled(generator.multinomial(n, np.full(n, 1 / n), size=size).astype(float) @ counts) for size in sizes]
    )
    if not math.isfinite(value) or not bool(np.isfinite(drawn).all()):
        raise TrexError(f"{name}: the score is not a finite number; check the metric's counts")
    low, high = (float(edge) for edge in np.quantile(drawn, (0.025, 0.975)))
    return Score(
        name=name, value=value, n=n, ci_low=low, ci_high=high, standard_error=float(drawn.std(ddof=1))
    )


def wilson(successes: int, n: int) -> tuple[float, float]:
    """95 % interval for a share (Wilson 1927, JASA 22:209). Raises TrexError for n = 0."""
    if n == 0:
        raise TrexError("an interval for a share needs at least one item")
    share, z2 = successes / n, Z_95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z_95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def paired_permutation(a: Sequence[float], b: Sequence[float], *, seed: int = 0) -> float:
    """Two-sided p-value for "a and b have one mean" on the same items, by flipping signs of differences.

    Exact where all non-zero differences have one size (right or wrong answers: the sign test) and where
    there are at most 12; else 10 000 seeded flips, counted with the observed one (Phipson & Smyth 2010).
    No difference at all is p = 1. Raises TrexError if the lengths differ.
    """
    if len(a) != len(b):
        raise TrexError(f"a paired test needs the same items on both sides, got {len(a)} and {len(b)}")
    differences = np.asarray(a, dtype=float) - np.asarray(b, dtype=float)
    differences = differences[np.abs(differences) > 1e-12]
    m = len(differences)
    if m == 0:
        return 1.0
    sizes = np.abs(differences)
    if float(np.ptp(sizes)) < 1e-12:
        fewer = min(int((differences > 0).sum()), int((differences < 0).sum()))
        return min(1.0, float(2 * sum(math.comb(m, k) for k in range(fewer + 1)) / 2**m))
    observed = abs(float(differences.sum())) * (1 - 1e-12)
    if m <= 12:
        bits = (np.arange(2**m)[:, None] >> np.arange(m)) & 1
        return float(np.mean(np.abs((1 - 2 * bits) @ sizes) >= observed))
    generator = np.random.default_rng(seed)
    hits, left = 0, SIGN_FLIPS
    while left > 0:
        rows = min(left, 1000)
        signs = generator.choice((-1.0, 1.0), (rows, m))
        hits += int((np.abs(signs @ sizes) >= observed).sum())
        left -= rows
    return (hits + 1) / (SIGN_FLIPS + 1)
