"""A test of the best of many candidates against the baseline, corrected for the selection.

The best of 60 equal configurations nearly always has a higher score than the baseline. The test compares its gain with
the gain that the best of 60 has if no candidate is better (White 2000, Econometrica 68:1097, the "reality check";
Romano & Wolf 2005, Econometrica 73:1237). All candidates are resampled or swapped together, item by item, so that
candidates with the same answers count as one.
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
"""Draws of a test. The standard error of the 5 % level is 0.2 points."""

LEAST_SPREAD = 0.25
"""Least variance of a draw, as a share of the sample's. If a candidate differs from the baseline on three items, one
draw in twenty contains none of the three and has no variance."""

_TINY = 1e-12


@dataclass(frozen=True)
class Improvement:
    """The candidate with the highest score compared with the baseline, one-sided.

    `p_value` is for "no candidate is better than the baseline". `at_least` is the lower end of a one-sided 95 %
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
    """Test whether the candidate with the highest score is better than the baseline, items paired by position.

    Two p-values are computed and the larger one is returned. (1) Random swaps of baseline and candidates: exact for
    symmetric differences, too small for few items with skewed values. (2) Bootstrap draws of the centred gains, each
    divided by its standard error if the score is a mean: correct for skewed values, too small where only few items
    differ, as with right-or-wrong answers. The larger one keeps the 5 % level in all cases of
    `benchmarks/intervals.py`. Raises TrexError without candidates, for unequal numbers of items, and for a metric that
    is neither a mean of values nor pooled from counts.
    """
    estimates = [estimate_of(metric, measured) for measured in (baseline, *candidates)]
    sums = [estimate for estimate in estimates if isinstance(estimate, Sums)]
    if len(sums) < len(estimates):
        raise TrexError(f"{metric.name}: the test of the best of many needs a mean or a pooled score")
    return _test(sums[0], sums[1:], seed, resamples)


def _test(baseline: Sums, candidates: Sequence[Sums], seed: int, resamples: int) -> Improvement:
    if not candidates:
        raise TrexError("there is no candidate to compare with the baseline")
    same_items([baseline, *candidates])
    gains = np.array([candidate.value for candidate in candidates]) - baseline.value
    best = int(gains.argmax())
    swapped = _swapped_maxima(baseline, candidates, seed, resamples)
    drawn, errors = _drawn_maxima(baseline, candidates, gains, seed, resamples)
    gain, error = float(gains[best]), float(errors[best])
    p_value = max(_p_value(swapped, gain), _p_value(drawn, gain / error))
    margin = max(float(np.quantile(swapped, 0.95)), float(np.quantile(drawn, 0.95)) * error)
    return Improvement(best, gain, gain - margin, p_value, len(candidates))


def _p_value(maxima: Counts, observed: float) -> float:
    """The share of maxima at least as large as the observed one, which is included (Phipson & Smyth 2010)."""
    return (int((maxima >= observed - 1e-9 * max(1.0, abs(observed))).sum()) + 1) / (len(maxima) + 1)


def _swapped_maxima(baseline: Sums, candidates: Sequence[Sums], seed: int, resamples: int) -> Counts:
    """The highest gain for each draw that swaps the baseline with all candidates on random items."""
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
    """The highest centred gain of each bootstrap draw, in standard errors of the candidate; and these errors.

    If the score is not a mean, the errors are 1: the gains are compared without standardisation.
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
