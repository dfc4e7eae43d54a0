"""What a search policy is.

A policy is a pure function of the tree: the same tree gives the same selection, and what is random comes from
the seed and the tree's size alone. So a selection can be repeated after a crash, and a policy keeps no state.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ..experiment import Experiment
from ..tree import Tree


class SearchPolicy(Protocol):
    """Chooses experiments to refine."""

    def select(self, tree: Tree, n: int = 1) -> list[str]:
        """The ids of `n` experiments to refine, distinct as long as there are enough.

        Only scored experiments are chosen; the root alone while there is none. Raises TrexError for an
        empty tree.
        """


def refinable(tree: Tree) -> tuple[Experiment, ...]:
    """The scored experiments by (round, id); the root alone while nothing has a score."""
    return tree.scored or (tree.root,)


def first_of(order: Sequence[Experiment], n: int) -> list[str]:
    """The ids of the first `n` experiments; from the beginning again when there are fewer."""
    return [order[index % len(order)].id for index in range(n)]
