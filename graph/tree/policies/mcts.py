"""Monte-Carlo tree search over all experiments."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from dataclasses import dataclass

from ..tree import Tree
from .protocol import refinable


@dataclass(frozen=True)
class Mcts:
    """UCT over all nodes, with progressive widening: any old branch can be reopened.

    A node's priority is `value + exploration · sqrt(ln N / N(v))` (Kocsis and Szepesvári, 2006), where N(v)
    counts the experiments of its subtree and N those of the tree. There is no descent from the root: the
    highest priority anywhere wins. The value is half the node's own, because its own plan is what gets
    refined, and half the best of its subtree. Values are ranks of posterior means (see `_ranks`), never raw
    scores, and 0 for a failed experiment.

    A node may be refined again only while it has fewer children than `widening · N(v) ** alpha` (Coulom,
    2007): its children have to be followed before it is asked for more. Running experiments, and those chosen
    earlier in the same call, count as visits that brought nothing (virtual loss), so that several selections
    spread.

    The defaults did best among a few dozen combinations at 20 rounds on the tuning landscapes of
    `benchmarks/search.py`, by less than the noise. The mean of the subtree in place of its best, and a larger
    `exploration`, did worse there.
    """

    seed: int = 0
    exploration: float = 0.05
    widening: float = 2.0
    alpha: float = 0.5

    def select(self, tree: Tree, n: int = 1) -> list[str]:
        """See `SearchPolicy.select`."""
        candidates = [experiment.id for experiment in refinable(tree)]
        ranks = _ranks(tree)
        chosen: list[str] = []
        while len(chosen) < n:
            fresh = [node for node in candidates if node not in chosen] or candidates
            chosen.append(self._next(tree, ranks, fresh, chosen))
        return chosen

    def _next(self, tree: Tree, ranks: Mapping[str, float], candidates: list[str], chosen: list[str]) -> str:
        own = {node: ranks.get(node, 0.0) for node in tree.order}
        visits, children = dict.fromkeys(tree.order, 1), dict.fromkeys(tree.order, 0)
        for node in chosen:
            visits[node] += 1
            children[node] += 1
        best = dict(own)
        for node, parent in reversed(tree.edges):
            if parent is not None:
                children[parent] += 1
                visits[parent] += visits[node]
                best[parent] = max(best[parent], best[node])
        log_visits = math.log(visits[tree.root.id])

        def priority(node: str) -> float:
            value = (own[node] + best[node]) / 2.0
            return value + self.exploration * math.sqrt(log_visits / visits[node])

        def is_open(node: str) -> bool:
            return children[node] < self.widening * math.pow(visits[node], self.alpha)

        ready = [node for node in candidates if is_open(node)] or candidates
        return min(ready, key=lambda node: (-priority(node), node))


def _ranks(tree: Tree) -> dict[str, float]:
    """Posterior means as ranks in (0, 1), ties shared.

    A rank needs no scale: one collapsed experiment, or a score in other units, does not change what the
    exploration constant means.
    """
    means = {node: posterior.mean for node, posterior in tree.posteriors.items()}
    ordered = sorted(means.values())
    return {
        node: (bisect_left(ordered, mean) + bisect_right(ordered, mean)) / (2 * len(ordered))
        for node, mean in means.items()
    }
