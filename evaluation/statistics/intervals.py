"""Scores with 95 % intervals.

The method depends on the kind of score and was chosen for its coverage in `benchmarks/intervals.py`. A percentile
bootstrap covers too seldom near the ends of the scale, for skewed values and for macro-F1 (91 to 93 % at 150 items).

* a share of right answers: Wilson's interval;
* a mean of other values: bootstrap-t, which corrects for skewness;
* a score pooled from counts, or another aggregate: BCa, which corrects for bias and skewness, with the percentiles
  widened for small samples.
"""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

import numpy as np

from ...errors import TrexError
from ..metrics.measure import Measured
from ..metrics.protocol import Counts, Metric
from ..results import Score
from .resampling import (
    RESAMPLES,
    ScoreEstimator,
    Sums,
    estimate_of,
    is_binary,
    item_draws,
    product,
    replicates,
)

_NORMAL = NormalDist()
Z_95 = _NORMAL.inv_cdf(0.975)
_TAILS = (0.025, 0.975)


def score_measured(metric: Metric, measured: Measured, *, seed: int = 0, resamples: int = RESAMPLES) -> Score:
    """A metric's score with its interval over items; pooled for a `PooledMetric`.

    The interval is empty if all values are equal and neither 0 nor 1. Raises TrexError for no items, and for a value or
    a score that is not finite.
    """
    estimate = estimate_of(metric, measured)
    value = estimate.value
    if isinstance(estimate, Sums) and estimate.slope is not None:
        column = estimate.rows[:, 0]
        centre = float(column.mean())
        if is_binary(column):
            ends = wilson(int(column.sum()), len(column))
            # Half the width divided by 1.96: it is not 0 for a model without failures.
            error = (ends[1] - ends[0]) / (2 * Z_95)
        else:
            ends = bootstrap_t(column, seed=seed, resamples=resamples)
            error = standard_error_of_mean(column)
        low, high = sorted(value + estimate.slope * (end - centre) for end in ends)
        error *= abs(estimate.slope)
    else:
        try:
            drawn = replicates([estimate], seed=seed, resamples=resamples)[0]
        except TrexError as problem:
            raise TrexError(f"{metric.name}: {problem}") from problem
        low, high = bca(estimate, drawn)
        error = float(drawn.std(ddof=1)) * small_sample(estimate.n)
    return Score(name=metric.name, value=value, n=estimate.n, ci_low=low, ci_high=high, standard_error=error)


def wilson(successes: int, n: int) -> tuple[float, float]:
    """95 % interval for a share (Wilson 1927, JASA 22:209). Raises TrexError for n = 0.

    Among the closed forms its coverage is the most even from p = 0.5 to 0.97 (Brown, Cai & DasGupta 2001, Statistical
    Science 16:101).
    """
    if n == 0:
        raise TrexError("an interval for a share needs at least one item")
    share, z2 = successes / n, Z_95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z_95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def bootstrap_t(values: Counts, *, seed: int = 0, resamples: int = RESAMPLES) -> tuple[float, float]:
    """95 % bootstrap-t interval for a mean, within the range of the values (Efron 1982; Hall 1988, Ann. Stat. 16:927).

    Quantiles of (resample's mean - mean) / resample's standard error replace Student's: mean and standard error of a
    skewed sample are correlated, which a percentile interval ignores.
    """
    n, centre = len(values), float(values.mean())
    centred = values - centre
    variance = float(np.mean(centred**2))
    if n == 1 or variance <= 1e-18 * max(1.0, centre * centre):
        return centre, centre
    both = np.stack([centred, centred**2], axis=1)
    drawn = np.concatenate([product(weights, both) for weights in item_draws(n, resamples, seed)]) / n
    # A resample of equal values has no variance: its ratio is huge, and the interval ends at the extreme value.
    spread = np.maximum(drawn[:, 1] - drawn[:, 0] ** 2, 1e-12 * variance)
    low, high = np.quantile(drawn[:, 0] / np.sqrt(spread), _TAILS)
    error = math.sqrt(variance)
    return (
        max(float(values.min()), centre - float(high) * error),
        min(float(values.max()), centre - float(low) * error),
    )


def bca(estimate: ScoreEstimator, drawn: Counts) -> tuple[float, float]:
    """95 % BCa interval (Efron 1987, JASA 82:171) from bootstrap replicates of an estimate.

    Its percentiles are shifted by the bias z0, from the share of replicates below the estimate, and by the acceleration
    a, from the skewness of the estimates with one item left out. They are those of Student's t with n - 1 degrees of
    freedom times sqrt(n / (n - 1)): Hesterberg (2015, The American Statistician 69:371, section 5.2) widens percentile
    intervals so for small n.
    """
    value, n, b = estimate.value, estimate.n, len(drawn)
    close = 1e-12 * max(1.0, abs(value))
    # A replicate equal to the estimate counts half.
    below = (float((drawn < value - close).mean()) + float((drawn <= value + close).mean())) / 2
    bias = _NORMAL.inv_cdf(min(max(below, 1 / (b + 1)), b / (b + 1)))
    acceleration = _acceleration(estimate.left_out())
    # Instead of the normal 97.5 % quantile: wider for small n.
    wide = Z_95 if n < 2 else student_quantile(n - 1) * small_sample(n)
    moved = [bias + (bias + z) / (1 - acceleration * (bias + z)) for z in (-wide, wide)]
    low, high = (float(end) for end in np.quantile(drawn, [_NORMAL.cdf(z) for z in moved]))
    return min(low, value), max(high, value)


def _acceleration(left_out: Counts) -> float:
    """The skewness of the jackknife's influences divided by 6 sqrt(n); at most 1/6; 0 if unknown."""
    if len(left_out) < 2 or not np.isfinite(left_out).all():
        return 0.0
    influence = left_out.mean() - left_out
    size = float(np.sum(influence**2))
    if size <= 1e-24 * max(1.0, float(np.sum(left_out**2))):
        return 0.0
    return float(np.sum(influence**3) / (6 * size**1.5))


def small_sample(n: int) -> float:
    """sqrt(n / (n - 1)), the correction of a bootstrap's standard error for small n; 1 for a single item."""
    return math.sqrt(n / (n - 1)) if n > 1 else 1.0


def standard_error_of_mean(values: Counts) -> float:
    """The standard error of a mean in closed form, the limit of the bootstrap's; 0 for a single value."""
    return float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else 0.0


def student_interval(value: float, error: float, degrees: float) -> tuple[float, float]:
    """`value` plus and minus the 97.5 % quantile of Student's t times the error."""
    half = student_quantile(max(1.0, degrees)) * error
    return value - half, value + half


@lru_cache(maxsize=256)
def student_quantile(degrees: float) -> float:
    """The 97.5 % quantile of Student's t."""
    from scipy import special  # slow to import, and the commands import this module

    return float(special.stdtrit(degrees, 0.975))
