"""Paired comparison of two systems on the same items: difference, interval and p-value.

p-values come from swapping the answers of the two systems item by item (Fisher's randomisation; for scores that are
not a mean Noreen 1989, Yeh 2000): if the systems are equal, a swap changes nothing but noise. Intervals come from
bootstrap draws that both systems share, so that the effect of the items cancels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import TrexError
from ..metrics.measure import Measured
from ..metrics.protocol import Metric
from ..results import Score
from .intervals import Z_95, small_sample, standard_error_of_mean, student_interval
from .resampling import Sums, estimate_of, is_binary, product, replicates, same_items, sign_draws

SIGN_FLIPS = 10_000
"""Random swaps of a test."""
EXACT_UP_TO = 12
"""With at most so many differing items all swaps are counted instead of drawn."""

_TINY = 1e-12


@dataclass(frozen=True)
class Gain:
    """`after` minus `before` on the same items with its interval, and a two-sided p-value for "no gain"."""

    score: Score
    p_value: float


def paired_gain(metric: Metric, before: Measured, after: Measured, *, seed: int = 0) -> Gain:
    """The gain in a metric's score, items paired by position.

    The interval is Agresti & Min's (2005, Statistics in Medicine 24:729) for answers that are right or wrong: it is not
    empty where few answers differ. Otherwise it is Student's t with the standard error of the paired bootstrap, in
    closed form for a mean. Differences of two systems are nearly symmetric and often mostly 0; for these it covers
    better than bootstrap-t or BCa. The p-value comes from swaps, or from t for an aggregate that is neither a mean nor
    pooled. Raises TrexError for unequal numbers of items and for no items.
    """
    old, new = estimate_of(metric, before), estimate_of(metric, after)
    n, value = same_items([old, new]), new.value - old.value
    if isinstance(old, Sums) and isinstance(new, Sums) and None not in (old.slope, new.slope):
        return _gain_in_mean(old, new, value, seed)
    drawn = replicates([old, new], seed=seed)
    error = float((drawn[1] - drawn[0]).std(ddof=1)) * small_sample(n)
    low, high = student_interval(value, error, n - 1)
    if isinstance(old, Sums) and isinstance(new, Sums):
        p_value = _swap_p_value(old, new, value, seed)
    else:
        p_value = _student_p_value(value, error, n - 1)
    return Gain(_named_gain(value, n, low, high, error), p_value)


def _named_gain(value: float, n: int, low: float, high: float, error: float) -> Score:
    return Score(name="gain", value=value, n=n, ci_low=low, ci_high=high, standard_error=error)


def _gain_in_mean(old: Sums, new: Sums, value: float, seed: int) -> Gain:
    before, after = old.rows[:, 0], new.rows[:, 0]
    n, slope = len(before), new.slope or old.slope or 0.0
    p_value = paired_permutation(after.tolist(), before.tolist(), seed=seed)
    if is_binary(before) and is_binary(after):
        low, high = matched_shares(int((after > before).sum()), int((after < before).sum()), n)
        error = (high - low) / (2 * Z_95)
    else:
        differences = after - before
        error = standard_error_of_mean(differences)
        low, high = student_interval(float(differences.mean()), error, n - 1)
    low, high = sorted((slope * low, slope * high))
    return Gain(_named_gain(value, n, min(low, value), max(high, value), abs(slope) * error), p_value)


def matched_shares(better: int, worse: int, n: int) -> tuple[float, float]:
    """95 % interval for a difference of two shares of the same n items (Agresti & Min 2005).

    It is Wald's interval with half an item added to each of the four cells of the table.
    """
    b, c = (better + 0.5) / (n + 2), (worse + 0.5) / (n + 2)
    half = Z_95 * math.sqrt((b + c - (b - c) ** 2) / (n + 2))
    return max(-1.0, b - c - half), min(1.0, b - c + half)


def _swap_p_value(old: Sums, new: Sums, value: float, seed: int) -> float:
    """The share of random swaps with at least this gain in absolute value (Phipson & Smyth 2010)."""
    observed = abs(value) - _TINY
    if observed <= 0:
        return 1.0
    both, difference = old.rows.sum(axis=0) + new.rows.sum(axis=0), new.rows - old.rows
    moved = np.flatnonzero(np.abs(difference).max(axis=1) > 0)
    hits = 0
    for signs in sign_draws(len(moved), SIGN_FLIPS, seed):
        shift = product(signs, difference[moved])
        gains = new.score((both + shift) / 2) - old.score((both - shift) / 2)
        hits += int((np.abs(gains) >= observed).sum())
    return (hits + 1) / (SIGN_FLIPS + 1)


def _student_p_value(value: float, error: float, degrees: int) -> float:
    if abs(value) <= _TINY:
        return 1.0
    from scipy import special  # slow to import, and the commands import this module

    return float(2 * special.stdtr(max(1, degrees), -abs(value) / error)) if error > 0 else 0.0


def paired_permutation(a: Sequence[float], b: Sequence[float], *, seed: int = 0) -> float:
    """Two-sided p-value for "a and b have the same mean" on the same items, by flipping signs of differences.

    It is exact if all non-zero differences have the same size (right or wrong answers: the sign test), and if there are
    at most 12 of them. Otherwise 10 000 seeded flips are drawn; the observed one is included (Phipson & Smyth 2010).
    Without any difference p is 1. Raises TrexError if the lengths differ.
    """
    first, second = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if len(first) != len(second):
        raise TrexError(f"a paired test needs the same items on both sides, got {len(a)} and {len(b)}")
    differences = first - second
    differences = differences[np.abs(differences) > _TINY]
    m = len(differences)
    if m == 0:
        return 1.0
    sizes = np.abs(differences)
    if float(np.ptp(sizes)) < _TINY:
        fewer = min(int((differences > 0).sum()), int((differences < 0).sum()))
        return min(1.0, float(2 * sum(math.comb(m, k) for k in range(fewer + 1)) / 2**m))
    observed = abs(float(differences.sum())) * (1 - _TINY)
    if m <= EXACT_UP_TO:
        bits = (np.arange(2**m)[:, None] >> np.arange(m)) & 1
        return float(np.mean(np.abs((1 - 2 * bits) @ sizes) >= observed))
    hits = sum(int((np.abs(signs @ sizes) >= observed).sum()) for signs in sign_draws(m, SIGN_FLIPS, seed))
    return (hits + 1) / (SIGN_FLIPS + 1)
