"""The tree: its reducer, its family laws, its statistics and its posterior values."""

from __future__ import annotations

import copy
import math
import random
import time
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langgraph.channels.delta import DeltaChannel
from support.tree import experiment, experiments, tree
from trex.errors import TrexError
from trex.graph.tree.experiment import Experiment
from trex.graph.tree.posterior import estimate_gain_variance, posterior_of
from trex.graph.tree.tree import Tree, TreeReader, fold_tree

patches = st.dictionaries(st.sampled_from("abc"), st.integers() | st.none(), max_size=3)
writes = st.lists(st.dictionaries(st.sampled_from(["e0", "e1", "e2"]), patches, max_size=3), max_size=5)


@given(writes, writes)
def test_fold_is_associative_over_batches(first: list[Any], second: list[Any]) -> None:
    assert fold_tree(fold_tree({}, first), second) == fold_tree({}, first + second)


@given(writes)
def test_fold_is_idempotent_and_leaves_its_arguments_alone(batch: list[Any]) -> None:
    before = copy.deepcopy(batch)
    state = fold_tree({}, batch)
    kept = copy.deepcopy(state)
    assert fold_tree(state, batch) == fold_tree(fold_tree(state, batch), batch)
    assert state == kept
    assert batch == before


def test_fold_merges_one_level_deep_and_shares_what_did_not_change() -> None:
    state = fold_tree({}, [{"e0": {"status": "done", "secondary": {"a": 1}}, "e1": {"status": "running"}}])
    folded = fold_tree(state, [{"e1": {"status": "failed"}}, {"e1": {"failure": "no memory"}}])
    assert folded["e1"] == {"status": "failed", "failure": "no memory"}
    assert folded["e0"] is state["e0"]
    assert fold_tree(state, [{"e0": {"secondary": {"b": 2}}}])["e0"]["secondary"] == {"b": 2}


def test_fold_is_what_a_delta_channel_replays() -> None:
    live = DeltaChannel(fold_tree, dict)
    steps = [[{"e0": {"a": 1}}], [{"e1": {"a": 2}}, {"e0": {"b": 3}}], [{"e1": {"a": 4}}]]
    live.value = {}
    for step in steps:
        live.update(step)
    replayed = DeltaChannel(fold_tree, dict).from_checkpoint(live.checkpoint())
    replayed.replay_writes([("task", "tree", write) for step in steps for write in step])
    assert replayed.get() == live.get() == {"e0": {"a": 1, "b": 3}, "e1": {"a": 4}}


@given(experiments())
def test_family_laws(grown: list[Experiment]) -> None:
    family = Tree(grown)
    assert set(family.order) == {e.id for e in grown}
    for node in family:
        path = family.path(node.id)
        assert path[0] is family.root
        assert path[-1] is node
        assert len(path) == family.depth(node.id) + 1
        assert all(b.parent_id == a.id for a, b in pairwise(path))
        parent = family.parent(node.id)
        if parent is None:
            assert family.siblings(node.id) == ()
        else:
            with_node = {e.id for e in family.siblings(node.id)} | {node.id}
            assert with_node == {e.id for e in family.children(parent.id)}
            assert node not in family.siblings(node.id)


@given(experiments())
def test_statistics_are_sums_over_subtrees(grown: list[Experiment]) -> None:
    family = Tree(grown)
    finished = [e for e in grown if e.status != "running"]
    for node in family:
        below = [e for e in finished if node in family.path(e.id)]
        found = family.statistics[node.id]
        assert found.visits == len(below)
        assert math.isclose(found.reward, sum(e.reward for e in below), abs_tol=1e-9)
    assert family.statistics[family.root.id].visits == len(finished)


def test_a_failed_experiment_counts_as_a_visit_without_reward() -> None:
    family = Tree([experiment("e0", None, 0.5), experiment("e1", "e0", None), experiment("e2", "e0", 0.7)])
    assert family.statistics["e0"].visits == 3
    assert family.statistics["e0"].reward == pytest.approx(1.2)
    assert family.statistics["e1"].mean_reward == 0.0


@given(experiments())
def test_posterior_lies_between_score_and_prior(grown: list[Experiment]) -> None:
    family = Tree(grown)
    for node in family.scored:
        posterior = family.posterior(node.id)
        assert posterior is not None
        assert node.score is not None
        assert posterior.sd <= node.score.standard_error + 1e-12
        ancestors = [b for a in family.path(node.id)[:-1] if (b := family.posterior(a.id)) is not None]
        prior = ancestors[-1].mean if ancestors else node.score.value
        assert min(prior, node.score.value) - 1e-12 <= posterior.mean <= max(prior, node.score.value) + 1e-12
    assert all(family.posterior(e.id) is None for e in grown if e.status != "done")


def test_a_noisier_score_is_shrunk_further() -> None:
    parent = posterior_of(0.5, 0.03, None)
    means = [posterior_of(0.8, error, parent, 0.05**2).mean for error in (0.0, 0.02, 0.05, 0.2)]
    assert means[0] == 0.8
    assert means == sorted(means, reverse=True)


def test_a_childs_posterior_is_the_textbook_posterior() -> None:
    posterior = posterior_of(0.7, 0.04, posterior_of(0.5, 0.03, None), 0.05**2)
    prior_variance = 0.03**2 + 0.05**2
    precision = 1 / prior_variance + 1 / 0.04**2
    assert posterior.mean == pytest.approx((0.5 / prior_variance + 0.7 / 0.04**2) / precision)
    assert posterior.sd == pytest.approx(precision**-0.5)


def test_gain_variance_ignores_collapses_and_finds_the_true_spread() -> None:
    rng = random.Random(0)
    noise = 0.03**2
    gains = [rng.gauss(0.0, math.sqrt(0.1**2 + 2 * noise)) for _ in range(400)]
    clean = estimate_gain_variance(gains, [2 * noise] * 400, noise)
    assert math.sqrt(clean) == pytest.approx(0.1, rel=0.15)
    collapsed = estimate_gain_variance([*gains, *[-0.9] * 20], [2 * noise] * 420, noise)
    assert math.sqrt(collapsed) == pytest.approx(0.1, rel=0.25)
    assert estimate_gain_variance([0.0] * 400, [2 * noise] * 400, noise) >= 0.25 * noise


def test_best_goes_by_posterior_and_breaks_ties_by_id() -> None:
    lucky = [experiment("e0", None, 0.5), experiment("e1", "e0", 0.72, error=0.01)]
    lucky.append(experiment("e2", "e0", 0.74, error=0.15))
    assert Tree(lucky).best() is lucky[1]
    ties = tree([("e0", None, 0.5), ("e2", "e0", 0.7), ("e1", "e0", 0.7)])
    best = ties.best()
    assert best is not None
    assert best.id == "e1"
    assert Tree([experiment("e0", None, None)]).best() is None


def test_children_of_the_root_are_measured_against_the_first_plan() -> None:
    family = tree(
        [("e0", None, 0.5), ("e1", "e0", None), ("e2", "e0", 0.7), ("e3", "e0", 0.8), ("e4", "e3", 0.75)]
    )
    assert family.first_plan is family["e2"]
    references = {e.id: family.reference(e.id) for e in family}
    assert {node: found and found.id for node, found in references.items()} == {
        "e0": None, "e1": "e2", "e2": None, "e3": "e2", "e4": "e3",
    }  # fmt: skip
    assert family.direction_posterior("e2") is None and family.direction_posterior("e1") is None
    assert family.direction_posterior("e4") == family.posterior("e4")
    against_first, mean = (
        family.direction_posterior("e3"),
        {e.id: family.posteriors[e.id].mean for e in family.scored},
    )
    assert against_first is not None and against_first.gain == pytest.approx(mean["e3"] - mean["e2"])
    assert Tree([]).first_plan is None


def test_key_nodes_are_capped_ordered_and_explained() -> None:
    rows = [("e0", None, 0.5), ("e1", "e0", 0.8), ("e2", "e0", 0.51), ("e3", "e1", None), ("e4", "e1", 0.4)]
    keys = tree(rows).key_nodes()
    assert [(key.id, key.kind) for key in keys] == [("e1", "best"), ("e4", "loss"), ("e3", "failure")]
    assert keys[2].reason == "the loss became NaN"
    assert "worse with probability" in keys[1].reason
    assert [key.id for key in tree(rows).key_nodes(2)] == ["e1", "e4"]
    assert tree(rows).key_nodes(0) == ()


@given(experiments(), st.integers(0, 8))
def test_key_nodes_never_exceed_the_limit_or_repeat(grown: list[Experiment], limit: int) -> None:
    keys = [key.id for key in Tree(grown).key_nodes(limit)]
    assert len(keys) <= limit
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("e0", None, 0.5), ("e1", None, 0.5)], "one root"),
        ([("e0", None, 0.5), ("e1", "e9", 0.5)], "not in the tree: e9"),
        ([("e0", None, 0.5), ("e1", "e2", 0.5), ("e2", "e1", 0.5)], "don't descend from the root: e1, e2"),
        ([("e0", None, 0.5), ("e0", None, 0.5)], "same id"),
    ],
)
def test_what_is_not_a_tree_is_refused(rows: list[tuple[str, str | None, float]], message: str) -> None:
    with pytest.raises(TrexError, match=message):
        tree(rows)


def test_unknown_nodes_and_empty_trees_say_so() -> None:
    with pytest.raises(TrexError, match="no experiment 'e7'"):
        tree([("e0", None, 0.5)]).children("e7")
    with pytest.raises(TrexError, match="baseline"):
        _ = Tree([]).root


def _raw(size: int) -> dict[str, dict[str, Any]]:
    rng = random.Random(1)
    grown = [experiment("e0000", None, 0.5)]
    for index in range(1, size):
        grown.append(experiment(f"e{index:04d}", rng.choice(grown).id, rng.uniform(0.4, 0.9)))
    return {e.id: e.model_dump(mode="json") for e in grown}


def test_reader_validates_a_node_once_and_sees_changes() -> None:
    reader = TreeReader()
    raw = _raw(3)
    first = reader.read(raw)
    again = reader.read(fold_tree(raw, [{"e0001": {"status": "failed", "failure": "no memory"}}]))
    assert again["e0000"] is first["e0000"]
    assert again["e0001"].failure == "no memory"
    assert first["e0001"].failure is None
    with pytest.raises(TrexError, match="under the key 'other'"):
        reader.read({"other": raw["e0000"]})


@given(experiments(), st.randoms(use_true_random=False))
def test_a_tree_read_step_by_step_is_the_tree_built_anew(grown: list[Experiment], rng: random.Random) -> None:
    reader, raw = TreeReader(), fold_tree({}, [])
    for late in grown:
        early = late.model_copy(update={"status": "running", "score": None, "reward": 0.0, "failure": None})
        for state in (early, late) if rng.random() < 0.8 else (late,):
            raw = fold_tree(raw, [{late.id: state.model_dump(mode="json")}])
            read, built = (
                reader.read(raw),
                Tree([Experiment.model_validate(fields) for fields in raw.values()]),
            )
            assert list(read) == list(built) and read.order == built.order
            assert read.statistics == built.statistics and read.posteriors == built.posteriors
            assert (read.noise, read.gain_variance) == (built.noise, built.gain_variance)
            assert read.key_nodes() == built.key_nodes()


def test_reading_300_nodes_again_takes_a_millisecond() -> None:
    reader = TreeReader()
    raw = _raw(300)
    reader.read(raw)
    seconds = []
    for _ in range(20):
        start = time.process_time()
        reader.read(raw)
        seconds.append(time.process_time() - start)
    print(f"re-read of 300 nodes: {min(seconds) * 1e3:.2f} ms")
    assert min(seconds) < 0.002
