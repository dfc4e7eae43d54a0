"""The share of a reference's lead over the base model that a score reaches.

G = (S - S_base) / (S_reference - S_base):   0 is the base model, 1 the reference, above 1 is better than the reference.
"""

from __future__ import annotations

import math

from ...errors import TrexError
from ..results import Score

NAME = "gain ratio"


def gain_ratio(score: Score, base: Score | float, reference: float) -> Score | None:
    """G with its interval; None if the reference is not above the base.

    `base` is a number if it was published without its noise. The noise of score and base is propagated to first order,
    as if they were independent. For G's standard error,

        variance of G = (variance of S + (1 - G)² · variance of S_base) / (S_reference - S_base)²,

    and for its interval likewise, each end from the corresponding ends of the two intervals (MOVER: Zou & Donner 2008,
    Statistics in Medicine 27:1693), which keeps their skewness and coverage. On the same items score and base are
    usually correlated, and then the interval is wider than needed. The reference is taken as exact. Raises TrexError if
    the reference or the base is not finite.
    """
    start = base.value if isinstance(base, Score) else base
    if not (math.isfinite(start) and math.isfinite(reference)):
        raise TrexError(f"a gain ratio needs finite scores, got base {start} and reference {reference}")
    lead = reference - start
    if lead <= 0:
        return None
    ratio = (score.value - start) / lead
    weight = 1 - ratio
    error = score.standard_error
    below, above = score.value - score.ci_low, score.ci_high - score.value
    if isinstance(base, Score):
        error = math.hypot(error, weight * base.standard_error)
        down, up = weight * (base.ci_high - start), weight * (start - base.ci_low)
        below = math.hypot(below, max(down, -up, 0.0))
        above = math.hypot(above, max(up, -down, 0.0))
    return Score(
        name=NAME,
        value=ratio,
        n=score.n,
        ci_low=ratio - below / lead,
        ci_high=ratio + above / lead,
        standard_error=error / lead,
        covers=score.covers,
    )
