"""The posterior of a noisy score: it is shrunk towards the prediction from its ancestors.

The model is a random walk along the branches of the tree. A child's true value is its parent's plus the
effect of the change, `gain ~ N(0, τ²)`, and a score is the true value plus noise, `score ~ N(value, se²)`.
Filtering from the root down gives every node a normal posterior in closed form (normal-normal conjugacy;
Gelman et al., Bayesian Data Analysis, 3rd ed., ch. 2.5 and 5.4). τ is estimated from the tree itself.

Scores of one tree come from the same items, so their noise is positively correlated; treating it as
independent overstates the noise of a difference and errs on the side of caution. A node's score is the best
of its trials, which is biased upwards; the shrinkage takes back part of that bias, not all. What is reported
for a winner comes from `confirm` and `test`, never from here.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

PRIOR_RATIO = 2.0
"""Prior of τ: an effect is about twice the noise of one score."""

PRIOR_WEIGHT = 4.0
"""... and that posterior counts as much as four observed gains."""

FLOOR_RATIO = 0.5
"""τ is never taken below half the noise: a tree of ties must not freeze every value at the root's."""

_MAD_TO_SD = 1.4826


class Posterior(NamedTuple):
    """A node's posterior, in units of the score, and that of its gain over the parent.

    `gain` is the effect of the node's change given its own score and the posterior of the parent; for the
    root, and for a node without a scored ancestor, it is `None`.
    """

    mean: float
    sd: float
    gain: float | None = None
    gain_sd: float = 0.0

    @property
    def chance(self) -> float:
        """The probability that the node is truly better than its parent; 0.5 where there is no parent."""
        if self.gain is None:
            return 0.5
        if self.gain_sd == 0.0:
            return 0.5 if self.gain == 0.0 else float(self.gain > 0.0)
        return 0.5 * math.erfc(-self.gain / (self.gain_sd * math.sqrt(2.0)))


def posterior_of(
    score: float, standard_error: float, parent: Posterior | None, gain_variance: float = 0.0
) -> Posterior:
    """The posterior of a node: prior N(parent's mean, parent's variance + τ²), observation N(score, se²).

    Without a scored ancestor (`parent` None), as at the root, it is the node's own score.
    """
    if parent is None:
        return Posterior(mean=score, sd=standard_error)
    noise, inherited, surprise = standard_error**2, parent.sd**2, score - parent.mean
    prior = inherited + gain_variance
    if noise + prior == 0.0:
        return Posterior(mean=score, sd=0.0, gain=surprise, gain_sd=0.0)
    weight, effect = prior / (noise + prior), gain_variance / (noise + prior)
    gain_sd = math.sqrt(effect * (noise + inherited))
    return Posterior(parent.mean + weight * surprise, math.sqrt(weight * noise), effect * surprise, gain_sd)


def estimate_gain_variance(gains: Sequence[float], gain_noise: Sequence[float], noise: float) -> float:
    """τ², the variance of true gains: the spread of the observed gains less the part that is noise.

    Args:
        gains: score minus parent's score, one a node.
        gain_noise: the noise variance of each of these differences.
        noise: the typical noise variance of one score, which sets the prior and the floor.

    The spread is the median absolute deviation about the median, so that a few collapsed experiments don't
    pass for a tree in which everything matters.
    """
    prior = PRIOR_RATIO**2 * noise
    if not gains:
        return prior
    centre = statistics.median(gains)
    spread = _MAD_TO_SD * statistics.median(abs(gain - centre) for gain in gains)
    observed = max(0.0, spread**2 - statistics.median(gain_noise))
    blended = (len(gains) * observed + PRIOR_WEIGHT * prior) / (len(gains) + PRIOR_WEIGHT)
    return max(blended, FLOOR_RATIO**2 * noise)
