"""Which experiments to refine next: search policies behind one protocol.

A policy is a pure function of the tree: the same tree gives the same selection, and what is random comes from
the seed and the tree's size alone. So a selection can be repeated after a crash, and a policy keeps no state.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Literal, Protocol

from ...errors import InputError
from .experiment import Experiment
from .tree import Tree


class SearchPolicy(Protocol):
    """Chooses experiments to refine."""

    def select(self, tree: Tree, n: int = 1) -> list[str]:
        """The ids of `n` experiments to refine, distinct as long as there are enough.

        Only scored experiments are chosen; the root stands in while there is none. Raises TrexError for an
        empty tree.
        """
        ...


def refinable(tree: Tree) -> tuple[Experiment, ...]:
    """The scored experiments by (round, id); the root alone while nothing has a score."""
    return tree.scored or (tree.root,)


@dataclass(frozen=True)
class Mcts:
    """UCT over all nodes, with progressive widening: any old branch can be reopened.

    A node's priority is `value + exploration · sqrt(ln N / N(v))` (Kocsis and Szepesvári, 2006), where N(v)
    counts the experiments of its subtree and N those of the tree. There is no descent from the root: the
    highest priority anywhere wins. The value is half the node's own, because its own plan is what gets
    refined, and half what is carried up to it: with `backup` "best" the best of its subtree, with "mean" its
    average. Values are ranks of posterior means (see `_ranks`), never raw scores, and 0 for a failed
    experiment.

    A node may be refined again only while it has fewer children than `widening · N(v) ** alpha` (Coulom,
    2007): its children have to be followed before it is asked for more. Running experiments, and those chosen
    earlier in the same call, count as visits that brought nothing (virtual loss), so that several selections
    spread.

    The defaults did best among a few dozen combinations at 20 rounds on the tuning landscapes of
    `benchmarks/search.py`, by less than the noise; "mean" and a larger `exploration` did worse there.
    """

    seed: int = 0
    exploration: float = 0.05
    backup: Literal["best", "mean"] = "best"
    widening: float = 2.0
    alpha: float = 0.5

    def __post_init__(self) -> None:
        if self.backup not in ("best", "mean"):
            raise InputError(f"mcts: backup must be 'best' or 'mean', got {self.backup!r}")
        for name, least in (("exploration", 0.0), ("widening", 1.0), ("alpha", 0.0)):
            value = getattr(self, name)
            if isinstance(value, str) or not least <= value < math.inf:
                raise InputError(f"mcts: {name} must be a number of at least {least:g}, got {value!r}")

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
        total, best = dict(own), dict(own)
        for node, parent in reversed(tree.edges):
            if parent is not None:
                children[parent] += 1
                visits[parent] += visits[node]
                total[parent] += total[node]
                best[parent] = max(best[parent], best[node])
        log_visits = math.log(visits[tree.root.id])

        def priority(node: str) -> float:
            below = best[node] if self.backup == "best" else total[node] / visits[node]
            value = (own[node] + below) / 2.0
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


@dataclass(frozen=True)
class GreedyBestFirst:
    """Always refine the highest raw score; among equals the one with fewest children, then the lowest id."""

    seed: int = 0

    def select(self, tree: Tree, n: int = 1) -> list[str]:
        """See `SearchPolicy.select`."""
        return _cycle(sorted(refinable(tree), key=lambda e: _greed(tree, e)), n)


def _greed(tree: Tree, experiment: Experiment) -> tuple[float, int, str]:
    score = experiment.score.value if experiment.score is not None else -math.inf
    return -score, tree.child_count(experiment.id), experiment.id


@dataclass(frozen=True)
class Sequential:
    """Always refine the latest experiment that has a score, whatever the score is."""

    seed: int = 0

    def select(self, tree: Tree, n: int = 1) -> list[str]:
        """See `SearchPolicy.select`."""
        return _cycle(refinable(tree)[::-1], n)


@dataclass(frozen=True)
class UniformRandom:
    """Refine any scored experiment, all equally likely."""

    seed: int = 0

    def select(self, tree: Tree, n: int = 1) -> list[str]:
        """See `SearchPolicy.select`."""
        candidates = refinable(tree)
        order = random.Random(f"{self.seed}:{len(tree)}").sample(candidates, len(candidates))
        return _cycle(order, n)


def _cycle(order: Sequence[Experiment], n: int) -> list[str]:
    return [order[index % len(order)].id for index in range(n)]


_POLICIES: dict[str, Callable[..., SearchPolicy]] = {
    "mcts": Mcts,
    "gbfs": GreedyBestFirst,
    "ses": Sequential,
    "random": UniformRandom,
}

POLICIES = tuple(_POLICIES)
"""The names `policy` knows."""


def policy(name: str, seed: int = 0, **settings: float | str) -> SearchPolicy:
    """The search policy of that name. Raises InputError for a name, a setting or a value it does not know."""
    if name not in _POLICIES:
        raise InputError(f"no search policy {name!r}; there are: {', '.join(POLICIES)}")
    known = [parameter for parameter in signature(_POLICIES[name]).parameters if parameter != "seed"]
    for setting in settings:
        if setting not in known:
            raise InputError(f"{name} has no setting {setting!r}; it has: {', '.join(known) or 'none'}")
    return _POLICIES[name](seed=seed, **settings)
