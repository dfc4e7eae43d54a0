"""Sequential search."""

from __future__ import annotations

from dataclasses import dataclass

from ..tree import Tree
from .protocol import first_of, refinable


@dataclass(frozen=True)
class Sequential:
    """Always refine the latest experiment that has a score, whatever the score is."""

    seed: int = 0

    def select(self, tree: Tree, n: int = 1) -> list[str]:
        """See `SearchPolicy.select`."""
        return first_of(refinable(tree)[::-1], n)
