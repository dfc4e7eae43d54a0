"""The share of a reference's lead over the base model that a score has closed.

G = (S - S_base) / (S_reference - S_base):   0 is the base model, 1 the reference, more is beyond it.
"""

from __future__ import annotations

import math

from ...errors import TrexError
from ..metrics.measure import Measured
from ..metrics.protocol import Metric
from ..results import Score
from .intervals import small_sample, student_interval
from .resampling import estimate_of, replicates, same_items

NAME = "gain ratio"


def gain_ratio(score: Score, base: Score | float, reference: float) -> Score | None:
    """G with its interval; None where the reference isn't above the base.

    `base` is a number where it was published without its noise. The noise of score and base is carried over
    to first order and as if independent: to G's error as a root of squares,

        variance of G = (variance of S + (1 - G)² · variance of S_base) / (S_reference - S_base)²,

    to its interval likewise, each end from the matching ends of theirs (MOVER: Zou & Donner 2008, Statistics
    in Medicine 27:1693), which keeps their skewness and what they cover. On the same items score and base
    usually move together, and then this errs towards caution; see `paired_gain_ratio`. The reference counts
    as exact. Raises TrexError for a reference or a base that isn't finite.
    """
    start = base.value if isinstance(base, Score) else base
    ratio = _ratio(score.value, start, reference)
    if ratio is None:
        return None
    lead, weight = reference - start, 1 - ratio
    error = score.standard_error
    below, above = score.value - score.ci_low, score.ci_high - score.value
    if isinstance(base, Score):
        error = math.hypot(error, weight * base.standard_error)
        down, up = weight * (base.ci_high - start), weight * (start - base.ci_low)
        below, above = (
            math.hypot(below, max(down, -up, 0.0)),
            math.hypot(above, max(up, -down, 0.0)),
        )
    return Score(
        name=NAME,
        value=ratio,
        n=score.n,
        ci_low=ratio - below / lead,
        ci_high=ratio + above / lead,
        standard_error=error / lead,
        covers=score.covers,
    )


def paired_gain_ratio(
    metric: Metric, base: Measured, after: Measured, reference: float, *, seed: int = 0
) -> Score | None:
    """G of two systems on the same items, with its interval by a paired bootstrap; None as in `gain_ratio`.

    What is drawn is S - (1 - G) S_base, of which G is a multiple to first order; the ratio itself has no
    variance, since its denominator may come near 0 in a draw. Raises TrexError if the items differ in number.
    """
    old, new = estimate_of(metric, base), estimate_of(metric, after)
    n = same_items([old, new])
    ratio = _ratio(new.value, old.value, reference)
    if ratio is None:
        return None
    before, now = replicates([old, new], seed=seed)
    error = float((now - (1 - ratio) * before).std(ddof=1)) * small_sample(n) / (reference - old.value)
    low, high = student_interval(ratio, error, n - 1)
    return Score(name=NAME, value=ratio, n=n, ci_low=low, ci_high=high, standard_error=error)


def _ratio(score: float, base: float, reference: float) -> float | None:
    if not (math.isfinite(base) and math.isfinite(reference)):
        raise TrexError(f"a gain ratio needs finite scores, got base {base} and reference {reference}")
    return (score - base) / (reference - base) if reference > base else None
