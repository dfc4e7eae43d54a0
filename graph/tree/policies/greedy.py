"""Greedy best-first search."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..experiment import Experiment
from ..tree import Tree
from .protocol import first_of, refinable


@dataclass(frozen=True)
class GreedyBestFirst:
    """Always refine the highest raw score; among equals the one with fewest children, then the lowest id."""

    seed: int = 0

    def select(self, tree: Tree, n: int = 1) -> list[str]:
        """See `SearchPolicy.select`."""

        def order(experiment: Experiment) -> tuple[float, int, str]:
            score = experiment.score.value if experiment.score is not None else -math.inf
            return -score, len(tree.children(experiment.id)), experiment.id

        return first_of(sorted(refinable(tree), key=order), n)
