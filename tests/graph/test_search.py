"""What each search policy chooses. What all of them share is in `test_policy_protocol.py`."""

from __future__ import annotations

from support.tree import experiment, tree
from trex.graph.tree.policies.greedy import GreedyBestFirst
from trex.graph.tree.policies.mcts import Mcts
from trex.graph.tree.policies.sequential import Sequential
from trex.graph.tree.policies.uniform_random import UniformRandom
from trex.graph.tree.tree import Tree

Row = tuple[str, str | None, float | None]


def test_gbfs_takes_the_highest_raw_score_then_fewest_children() -> None:
    rows = [("e0", None, 0.5), ("e1", "e0", 0.8), ("e2", "e0", 0.8), ("e3", "e1", 0.6)]
    assert GreedyBestFirst().select(tree(rows), 3) == ["e2", "e1", "e3"]
    lucky = Tree([*tree(rows), experiment("e4", "e0", 0.81, error=0.3)])
    assert GreedyBestFirst().select(lucky) == ["e4"]
    assert Mcts().select(lucky) != ["e4"]


def test_ses_refines_the_latest_success() -> None:
    rows = [("e0", None, 0.5), ("e1", "e0", 0.8), ("e2", "e1", 0.6), ("e3", "e2", None)]
    assert Sequential().select(tree(rows)) == ["e2"]


def test_random_is_uniform_over_scored_nodes_and_depends_on_the_seed() -> None:
    family = tree([("e0", None, 0.5), ("e1", "e0", 0.8), ("e2", "e0", None), ("e3", "e0", 0.1)])
    counts = {"e0": 0, "e1": 0, "e3": 0}
    for seed in range(900):
        counts[UniformRandom(seed).select(family)[0]] += 1
    assert all(240 < count < 360 for count in counts.values())


def test_mcts_reopens_an_old_branch_when_the_best_one_is_exhausted() -> None:
    """The best branch brings nothing in eight tries: another one is taken up again."""
    rows: list[Row] = [("e00", None, 0.5), ("e01", "e00", 0.7), ("e02", "e00", 0.75)]
    chosen = []
    for number in range(3, 15):
        node = Mcts().select(tree(rows))[0]
        chosen.append(node)
        rows.append((f"e{number:02d}", node, 0.45 if node != "e01" else 0.72))
    assert chosen[0] == "e02"
    assert "e01" in chosen
    assert chosen.index("e01") < 6


def test_mcts_leaves_a_dead_end() -> None:
    """All refinements of the best node fail: widening closes it, and the run goes on elsewhere."""
    rows: list[Row] = [("e00", None, 0.5), ("e01", "e00", 0.6), ("e02", "e00", 0.9)]
    rows += [(f"e{number:02d}", "e02", None) for number in range(3, 9)]
    assert Mcts().select(tree(rows)) == ["e01"]
    assert GreedyBestFirst().select(tree(rows)) == ["e02"]


def test_mcts_counts_running_experiments_as_visits() -> None:
    idle = tree([("e0", None, 0.5), ("e1", "e0", 0.70), ("e2", "e0", 0.72)])
    assert Mcts().select(idle) == ["e2"]
    busy = [experiment(f"e{number}", "e2", status="running") for number in range(3, 8)]
    assert Mcts().select(Tree([*idle, *busy])) == ["e1"]
