"""Statistics of directions across a tree: mean gain over the parent, with its standard error."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from .experiment import Experiment, Strategy
from .posterior import Posterior
from .tree import Tree


@dataclass(frozen=True, slots=True)
class DirectionRecord:
    """The results of one direction across the tree.

    `tries` counts finished experiments, failed ones too. `mean_gain` is the mean posterior gain over the
    parent of those with a score, in units of the score, and `standard_error` that mean's; both are `None` if
    all failed.
    """

    strategy: Strategy
    direction: str
    tries: int
    failures: int
    mean_gain: float | None
    standard_error: float | None


def directions(tree: Tree) -> dict[tuple[Strategy, str], DirectionRecord]:
    """The record of each (strategy, direction), in order of first use; the root is left out."""
    tried: dict[tuple[Strategy, str], list[Experiment]] = defaultdict(list)
    for experiment in tree:
        plan = experiment.tried_plan
        if plan is not None and experiment.parent_id is not None and experiment.status != "running":
            tried[plan.strategy, plan.direction].append(experiment)
    return {key: _record(tree, key, experiments) for key, experiments in tried.items()}


def _record(tree: Tree, key: tuple[Strategy, str], experiments: Sequence[Experiment]) -> DirectionRecord:
    posteriors = [posterior for e in experiments if (posterior := tree.posterior(e.id)) is not None]
    mean_gain, standard_error = mean_of_gains(posteriors, tree.gain_variance) or (None, None)
    failures = sum(experiment.status == "failed" for experiment in experiments)
    return DirectionRecord(*key, len(experiments), failures, mean_gain, standard_error)


def mean_of_gains(posteriors: Sequence[Posterior], usual_variance: float) -> tuple[float, float] | None:
    """The mean of posterior gains and its standard error, in units of the score; None if there is no gain.

    The standard error comes from the spread of the gains plus what is uncertain about each (law of total
    variance). A single gain has no spread: it takes `usual_variance`, the tree's own variance of gains.
    """
    known = [(posterior.gain, posterior.gain_sd) for posterior in posteriors if posterior.gain is not None]
    if not known:
        return None
    mean, spread = statistics.fmean(gain for gain, _ in known), usual_variance
    if len(known) > 1:
        spread = statistics.variance((gain for gain, _ in known), mean)
    uncertain = statistics.fmean(sd**2 for _, sd in known)
    return mean, math.sqrt((spread + uncertain) / len(known))
