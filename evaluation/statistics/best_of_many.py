"""The best of many candidates: is it better than the baseline, although it was selected on the same items?

The best of 60 equal configurations looks better than the baseline nearly always. What counts is whether it is further
ahead than the best of 60 would be if none were better (White 2000, Econometrica 68:1097, the "reality check"; Romano &
Wolf 2005, Econometrica 73:1237). All candidates are resampled or swapped together, item by item, so that candidates
with the same answers count for less than their number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import TrexError
from ..metrics.measure import Measured
from ..metrics.protocol import Counts, Metric
from .resampling import Sums, estimate_of, item_draws, product, same_items, sign_draws

DRAWS = 10_000
"""With this many draws the 5 % level is known to within 0.2 points; the test is made once or twice a run."""

LEAST_SPREAD = 0.25
"""The least variance of a draw, as a share of the sample's: if a candidate differs from the baseline on three items,
one draw in twenty has none of them, and thus no variance."""

_TINY = 1e-12


@dataclass(frozen=True)
class Improvement:
    """The candidate with the highest score against the baseline, one-sided.

    `p_value` is for "no candidate is better than the baseline". `at_least` is the end of a one-sided 95 %
    interval for the selected candidate's true gain, corrected for the selection, in units of the score.
    """

    best: int
    gain: float
    at_least: float
    p_value: float
    candidates: int


def improvement_measured(
    metric: Metric,
    baseline: Measured,
    candidates: Sequence[Measured],
    *,
    seed: int = 0,
    resamples: int = DRAWS,
) -> Improvement:
    """Whether the candidate with the highest score is better than the baseline, items paired by position.

    Two p-values are computed, and the larger one counts. (1) Random swaps of baseline and candidates: exact
    for differences that are symmetric, too small for few items with skewed values. (2) Bootstrap draws of the
    gains, centred, for means each over its standard error: right for skewed values, too small where only few
    items differ, as with right-or-wrong answers. Together they keep the 5 % in all cases of
    `benchmarks/intervals.py`. Raises TrexError for no candidates, for items that differ in number, and for a
    metric that is neither a mean of values nor pooled from counts.
    """
    estimates = [estimate_of(metric, measured) for measured in (baseline, *candidates)]
    sums = [estimate for estimate in estimates if isinstance(estimate, Sums)]
    if len(sums) < len(estimates):
        raise TrexError(f"{metric.name}: only means and pooled scores can be tested for the best of many")
    return _tested(sums[0], sums[1:], seed, resamples)


def _tested(baseline: Sums, candidates: Sequence[Sums], seed: int, resamples: int) -> Improvement:
    if not candidates:
        raise TrexError("there is no candidate to compare with the baseline")
    same_items([baseline, *candidates])
    gains = np.array([candidate.value for candidate in candidates]) - baseline.value
    best = int(gains.argmax())
    swapped = _swapped_maxima(baseline, candidates, seed, resamples)
    drawn, errors = _drawn_maxima(baseline, candidates, gains, seed, resamples)
    reached = float(gains[best])
    p_value = max(_p(swapped, reached), _p(drawn, reached / errors[best]))
    margin = max(float(np.quantile(swapped, 0.95)), float(np.quantile(drawn, 0.95)) * float(errors[best]))
    return Improvement(best, reached, reached - margin, p_value, len(candidates))


def _p(maxima: Counts, reached: float) -> float:
    """How often chance reaches as much, counted with the observed case (Phipson & Smyth 2010)."""
    return (int((maxima >= reached - 1e-9 * max(1.0, abs(reached))).sum()) + 1) / (len(maxima) + 1)


def _swapped_maxima(baseline: Sums, candidates: Sequence[Sums], seed: int, resamples: int) -> Counts:
    """The highest gain after swapping the baseline with all candidates on random items."""
    start = baseline.rows.sum(axis=0)
    differences = np.stack([candidate.rows - baseline.rows for candidate in candidates], axis=1)
    n, m, k = differences.shape
    both = np.stack([candidate.rows.sum(axis=0) for candidate in candidates]) + start
    maxima = []
    for signs in sign_draws(n, resamples, seed):
        shift = product(signs, differences.reshape(n, m * k)).reshape(-1, m, k)
        maxima.append((baseline.score((both + shift) / 2) - baseline.score((both - shift) / 2)).max(axis=1))
    return np.concatenate(maxima)


def _drawn_maxima(
    baseline: Sums, candidates: Sequence[Sums], gains: Counts, seed: int, resamples: int
) -> tuple[Counts, Counts]:
    """The highest centred gain on bootstrap draws, over its standard error for means; and these errors.

    Scores that are no means have errors of 1: their gains are compared as they are.
    """
    m = len(candidates)
    if baseline.slope is None:
        drawn = [
            _pooled_gains(baseline, candidates, weights)
            for weights in item_draws(baseline.n, resamples, seed)
        ]
        return (np.concatenate(drawn) - gains).max(axis=1), np.ones(m)
    differences = (baseline.slope or 1.0) * np.stack(
        [c.rows[:, 0] - baseline.rows[:, 0] for c in candidates], axis=1
    )
    centred = differences - differences.mean(axis=0)
    n, squares = len(centred), centred**2
    variances = squares.mean(axis=0)
    floor = np.maximum(LEAST_SPREAD * variances, _TINY**2)
    maxima = []
    for weights in item_draws(n, resamples, seed):
        means = product(weights, centred) / n
        spread = np.maximum(product(weights, squares) / n - means**2, floor)
        maxima.append((means / np.sqrt(spread / n)).max(axis=1))
    return np.concatenate(maxima), np.sqrt(np.maximum(variances, _TINY**2) / n)


def _pooled_gains(baseline: Sums, candidates: Sequence[Sums], weights: Counts) -> Counts:
    before = baseline.resampled(weights)
    return np.stack([candidate.resampled(weights) - before for candidate in candidates], axis=1)
