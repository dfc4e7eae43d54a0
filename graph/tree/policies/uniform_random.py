"""Random search."""

from __future__ import annotations

import random
from dataclasses import dataclass

from ..tree import Tree
from .protocol import first_of, refinable


@dataclass(frozen=True)
class UniformRandom:
    """Refine any scored experiment, all equally likely."""

    seed: int = 0

    def select(self, tree: Tree, n: int = 1) -> list[str]:
        """See `SearchPolicy.select`."""
        candidates = refinable(tree)
        return first_of(random.Random(f"{self.seed}:{len(tree)}").sample(candidates, len(candidates)), n)
