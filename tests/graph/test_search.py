"""Search policies: pure, order-blind, and never stuck on what failed."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tree import experiment, experiments, tree
from trex.errors import InputError, TrexError
from trex.graph.tree.experiment import Experiment
from trex.graph.tree.policies import POLICIES, policy
from trex.graph.tree.tree import Tree

Row = tuple[str, str | None, float | None]
names = st.sampled_from(POLICIES)


@given(experiments(), names, st.integers(1, 5), st.randoms(use_true_random=False))
def test_selection_is_pure_and_blind_to_insertion_order(
    grown: list[Experiment], name: str, n: int, rng: random.Random
) -> None:
    chosen = policy(name, 3).select(Tree(grown), n)
    shuffled = list(grown)
    rng.shuffle(shuffled)
    chooser = policy(name, 3)
    assert chooser.select(Tree(shuffled), n) == chosen
    assert chooser.select(Tree(grown), n) == chosen


@given(experiments(), names, st.integers(1, 30))
@settings(max_examples=60)
def test_only_scored_nodes_and_distinct_while_there_are_enough(
    grown: list[Experiment], name: str, n: int
) -> None:
    family = Tree(grown)
    chosen = policy(name, 0).select(family, n)
    assert len(chosen) == n
    assert {family[node].status for node in chosen} == {"done"}
    assert len(set(chosen)) == min(n, len(family.scored))


@pytest.mark.parametrize("name", POLICIES)
def test_the_root_stands_in_while_nothing_has_a_score(name: str) -> None:
    failed_baseline = Tree([experiment("e0", None, None), experiment("e1", "e0", None)])
    assert policy(name, 0).select(failed_baseline, 2) == ["e0", "e0"]
    with pytest.raises(TrexError, match="empty"):
        policy(name, 0).select(Tree([]))


def test_gbfs_takes_the_highest_raw_score_then_fewest_children() -> None:
    rows = [("e0", None, 0.5), ("e1", "e0", 0.8), ("e2", "e0", 0.8), ("e3", "e1", 0.6)]
    assert policy("gbfs").select(tree(rows), 3) == ["e2", "e1", "e3"]
    lucky = Tree([*tree(rows), experiment("e4", "e0", 0.81, error=0.3)])
    assert policy("gbfs").select(lucky) == ["e4"]
    assert policy("mcts").select(lucky) != ["e4"]


def test_ses_refines_the_latest_success() -> None:
    rows = [("e0", None, 0.5), ("e1", "e0", 0.8), ("e2", "e1", 0.6), ("e3", "e2", None)]
    assert policy("ses").select(tree(rows)) == ["e2"]


def test_random_is_uniform_over_scored_nodes_and_depends_on_the_seed() -> None:
    family = tree([("e0", None, 0.5), ("e1", "e0", 0.8), ("e2", "e0", None), ("e3", "e0", 0.1)])
    counts = {"e0": 0, "e1": 0, "e3": 0}
    for seed in range(900):
        counts[policy("random", seed).select(family)[0]] += 1
    assert all(240 < count < 360 for count in counts.values())


def test_mcts_reopens_an_old_branch_when_the_best_one_is_exhausted() -> None:
    """The best branch brings nothing in eight tries: another one is taken up again."""
    rows: list[Row] = [("e00", None, 0.5), ("e01", "e00", 0.7), ("e02", "e00", 0.75)]
    chosen = []
    for number in range(3, 15):
        node = policy("mcts").select(tree(rows))[0]
        chosen.append(node)
        rows.append((f"e{number:02d}", node, 0.45 if node != "e01" else 0.72))
    assert chosen[0] == "e02"
    assert "e01" in chosen
    assert chosen.index("e01") < 6


def test_mcts_leaves_a_dead_end() -> None:
    """All refinements of the best node fail: widening closes it, and the run goes on elsewhere."""
    rows: list[Row] = [("e00", None, 0.5), ("e01", "e00", 0.6), ("e02", "e00", 0.9)]
    rows += [(f"e{number:02d}", "e02", None) for number in range(3, 9)]
    assert policy("mcts").select(tree(rows)) == ["e01"]
    assert policy("gbfs").select(tree(rows)) == ["e02"]


def test_mcts_counts_running_experiments_as_visits() -> None:
    idle = tree([("e0", None, 0.5), ("e1", "e0", 0.70), ("e2", "e0", 0.72)])
    assert policy("mcts").select(idle) == ["e2"]
    busy = [experiment(f"e{number}", "e2", status="running") for number in range(3, 8)]
    assert policy("mcts").select(Tree([*idle, *busy])) == ["e1"]


def test_mcts_mean_backup_and_exploration_change_the_choice() -> None:
    rows = [("e0", None, 0.5), ("e1", "e0", 0.8), ("e2", "e0", 0.6), ("e3", "e1", 0.3), ("e4", "e1", 0.3)]
    assert policy("mcts", exploration=0.0).select(tree(rows)) == ["e1"]
    assert policy("mcts", exploration=0.0, backup="mean").select(tree(rows)) == ["e2"]
    assert policy("mcts", exploration=50.0).select(tree(rows)) == ["e2"]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mtcs", {}, "no search policy 'mtcs'; there are: mcts, gbfs, ses, random"),
        ("gbfs", {"exploration": 1.0}, "gbfs has no setting 'exploration'; it has: none"),
        ("mcts", {"depth": 3}, "mcts has no setting 'depth'; it has: exploration, backup, widening, alpha"),
        ("mcts", {"backup": "worst"}, "'best' or 'mean'"),
        ("mcts", {"exploration": float("nan")}, "exploration must be a number"),
        ("mcts", {"widening": 0.5}, "widening must be a number of at least 1"),
    ],
)
def test_bad_names_and_settings_say_what_there_is(
    name: str, options: dict[str, float | str], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        policy(name, **options)
