"""Search policies: which experiment is refined next. `protocol.py` says what one is, a file holds one policy."""

from __future__ import annotations

from collections.abc import Callable

from ....registry import Registry
from .protocol import SearchPolicy

# A policy is opened with the run's seed.
POLICIES: Registry[Callable[[int], SearchPolicy]] = Registry(
    "search policy",
    "trex.policies",
    {
        "mcts": "trex.graph.tree.policies.mcts:Mcts",
        "gbfs": "trex.graph.tree.policies.greedy:GreedyBestFirst",
        "ses": "trex.graph.tree.policies.sequential:Sequential",
        "random": "trex.graph.tree.policies.uniform_random:UniformRandom",
    },
)
