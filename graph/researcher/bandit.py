"""Which direction to take: Thompson sampling over the gains that directions brought in this tree.

A direction's mean gain has a normal prior around its optimism; every experiment that took the direction is a
noisy observation of it (normal with known variance; Gelman et al., Bayesian Data Analysis, 3rd ed., ch. 2.5).
A gain is sampled from each posterior, and the largest wins (Thompson 1933).
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ..experiment import Experiment
from ..tree import Tree

SMALLEST_SCALE = 0.005
"""Gains are never taken to vary by less than this (in units of the score)."""

FAILURE_GAIN = -1.0
"""A failed experiment counts as a loss of this many scales."""


class Outcome(NamedTuple):
    """One observation: what an experiment in some direction gained, and the variance of that number."""

    gain: float
    variance: float


@dataclass(frozen=True)
class Arm:
    """What is believed of a direction's mean gain, in units of the score."""

    mean: float
    sd: float
    tries: int


def scale(tree: Tree) -> float:
    """How far true gains typically lie from zero in this tree, in units of the score."""
    return max(SMALLEST_SCALE, math.sqrt(tree.gain_variance))


def outcomes(tree: Tree) -> dict[str, list[Outcome]]:
    """The gains of each direction over what it refined.

    A child of the root starts from the first plan, not from the untrained model; the oldest child is that
    plan, and the later ones are measured against it. It is itself no evidence for any direction.
    """
    found: dict[str, list[Outcome]] = defaultdict(list)
    size = scale(tree)
    first = next((child for child in tree.children(tree.root.id) if child.score is not None), None)
    for experiment in tree:
        parent = tree.parent(experiment.id)
        if experiment.plan is None or parent is None or experiment.status == "running":
            continue
        if parent.plan is None:
            if first is None or first.id == experiment.id:
                continue
            parent = first
        found[experiment.plan.direction].append(_outcome(tree, experiment, parent, size))
    return found


def _outcome(tree: Tree, experiment: Experiment, parent: Experiment, size: float) -> Outcome:
    before: Experiment | None = parent
    while before is not None and before.score is None:
        before = tree.parent(before.id)
    if experiment.score is None or before is None or before.score is None:
        return Outcome(FAILURE_GAIN * size, size**2)
    noise = experiment.score.standard_error**2 + before.score.standard_error**2
    # How well a direction works differs from place to place by about the scale itself.
    return Outcome(experiment.score.value - before.score.value, noise + size**2)


def arm(optimism: float, size: float, seen: Sequence[Outcome]) -> Arm:
    """The posterior of a direction whose prior is N(optimism · size, size²)."""
    precision = 1 / size**2 + sum(1 / outcome.variance for outcome in seen)
    weighted = optimism / size + sum(outcome.gain / outcome.variance for outcome in seen)
    return Arm(mean=weighted / precision, sd=math.sqrt(1 / precision), tries=len(seen))


def choose(arms: Mapping[str, Arm], bonus: Mapping[str, float], rng: random.Random) -> list[str]:
    """The directions, the one with the largest sampled gain first. `bonus` is added to a sample."""
    drawn = {name: rng.gauss(arms[name].mean, arms[name].sd) + bonus.get(name, 0.0) for name in sorted(arms)}
    return sorted(drawn, key=lambda name: (-drawn[name], name))
