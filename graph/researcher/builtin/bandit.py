"""Choice of a direction: Thompson sampling over the gains of each direction in this tree.

A direction's mean gain has a normal prior around its optimism; every experiment in that direction is a
noisy observation of it (normal with known variance; Gelman et al., Bayesian Data Analysis, 3rd ed., ch. 2.5).
A gain is sampled from each posterior, and the largest wins (Thompson 1933).
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...tree.tree import ObservedGain, Tree

SMALLEST_SCALE = 0.005
"""Lower bound on the scale of gains, in units of the score."""

FAILURE_GAIN = -1.0
"""Gain of a failed experiment, in units of the scale."""


@dataclass(frozen=True)
class Arm:
    """The posterior of a direction's mean gain, in units of the score."""

    mean: float
    sd: float
    tries: int


def scale(tree: Tree) -> float:
    """The standard deviation of true gains in this tree, in units of the score."""
    return max(SMALLEST_SCALE, math.sqrt(tree.gain_variance))


def outcomes(tree: Tree) -> dict[str, list[ObservedGain]]:
    """The gains of each direction over its reference (`Tree.reference`); failures count as a fixed loss."""
    gains: dict[str, list[ObservedGain]] = defaultdict(list)
    failed = ObservedGain(FAILURE_GAIN * scale(tree), 0.0)
    for experiment in tree:
        reference = tree.reference(experiment.id)
        if experiment.tried_plan is None or experiment.status == "running" or reference is None:
            continue
        gain = tree.gains.get(experiment.id)
        if reference.id != experiment.parent_id and reference.score and experiment.score:
            gain = ObservedGain.between(reference.score, experiment.score)
        gains[experiment.tried_plan.direction].append(gain or failed)
    return gains


def arm(optimism: float, size: float, seen: Sequence[ObservedGain]) -> Arm:
    """The posterior of a direction whose prior is N(optimism · size, size²).

    The effect of a direction differs between nodes by about `size`; this variance is added to the noise.
    """
    variance = size**2
    precision = 1 / variance + sum(1 / (noise + variance) for _, noise in seen)
    weighted = optimism / size + sum(gain / (noise + variance) for gain, noise in seen)
    return Arm(mean=weighted / precision, sd=math.sqrt(1 / precision), tries=len(seen))


def choose(arms: Mapping[str, Arm], bonus: Mapping[str, float], rng: random.Random) -> list[str]:
    """The directions, sorted by sampled gain plus `bonus`, the largest first."""
    gains = {name: rng.gauss(arms[name].mean, arms[name].sd) + bonus.get(name, 0.0) for name in sorted(arms)}
    return sorted(gains, key=lambda name: (-gains[name], name))
