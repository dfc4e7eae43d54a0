"""What every search policy must keep: pure, independent of insertion order, never stuck on what failed."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cli import on_the_torch_free_runtime
from support.outside_package import write_package
from support.tree import experiment, experiments
from trex import load_run, run
from trex.errors import TrexError
from trex.graph.tree.experiment import Experiment
from trex.graph.tree.policies import POLICIES
from trex.graph.tree.policies.protocol import SearchPolicy
from trex.graph.tree.tree import Tree

NAMES = POLICIES.names()
TOY = """
from dataclasses import dataclass


@dataclass(frozen=True)
class Oldest:
    seed: int = 0

    def select(self, tree, n=1):
        known = [each.id for each in tree.scored or (tree.root,)]
        return [known[place % len(known)] for place in range(n)]
"""


def check_pure(name: str, grown: list[Experiment], n: int, rng: random.Random) -> None:
    policy: SearchPolicy = POLICIES.load(name)(3)
    chosen = policy.select(Tree(grown), n)
    shuffled = list(grown)
    rng.shuffle(shuffled)
    again = POLICIES.load(name)(3)
    assert again.select(Tree(shuffled), n) == chosen
    assert again.select(Tree(grown), n) == chosen


def check_only_scored(name: str, grown: list[Experiment], n: int) -> None:
    """Only scored experiments, distinct while there are enough."""
    tree = Tree(grown)
    chosen = POLICIES.load(name)(0).select(tree, n)
    assert len(chosen) == n
    assert {tree[node].status for node in chosen} == {"done"}
    assert len(set(chosen)) == min(n, len(tree.scored))


def check_root_alone(name: str) -> None:
    """Nothing has a score: the root is refined; an empty tree is an error."""
    failed_baseline = Tree([experiment("e0", None, None), experiment("e1", "e0", None)])
    assert POLICIES.load(name)(0).select(failed_baseline, 2) == ["e0", "e0"]
    with pytest.raises(TrexError, match="empty"):
        POLICIES.load(name)(0).select(Tree([]))


@given(experiments(), st.sampled_from(NAMES), st.integers(1, 5), st.randoms(use_true_random=False))
def test_selection_is_pure_and_independent_of_insertion_order(
    grown: list[Experiment], name: str, n: int, rng: random.Random
) -> None:
    check_pure(name, grown, n, rng)


@given(experiments(), st.sampled_from(NAMES), st.integers(1, 30))
@settings(max_examples=60)
def test_only_scored_nodes_and_distinct_while_there_are_enough(
    grown: list[Experiment], name: str, n: int
) -> None:
    check_only_scored(name, grown, n)


@pytest.mark.parametrize("name", NAMES)
def test_the_root_is_refined_while_nothing_has_a_score(name: str) -> None:
    check_root_alone(name)


def test_a_policy_of_an_installed_package_steers_a_run(
    tmp_path: Path, fresh_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_package(
        tmp_path / "site", "toy_policy", TOY, {"trex.policies": "oldest = toy_policy:Oldest"}
    )
    monkeypatch.syspath_prepend(str(folder))
    on_the_torch_free_runtime(monkeypatch)

    assert POLICIES.names() == (*NAMES, "oldest")
    grown = [experiment("e0", None, 0.5), experiment("e1", "e0", 0.7), experiment("e2", "e1", None)]
    check_pure("oldest", grown, 2, random.Random(0))
    check_only_scored("oldest", grown, 3)
    check_root_alone("oldest")

    done = run("sentiment", out=tmp_path / "run", smoke=True, rounds=2, trials=2, policy="oldest")
    assert done.summary.status == "done" and done.summary.policy == "oldest"
    assert [each.parent_id for each in done.tree] == [None, "e000", "e000"]

    monkeypatch.undo()  # the package is removed: what it made can still be looked at
    assert load_run(tmp_path / "run").summary.policy == "oldest"
