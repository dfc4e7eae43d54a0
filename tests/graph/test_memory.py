"""The memory context: complete, within its budget, stable and fast."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tree import experiment, experiments, tree
from trex.errors import TrexError
from trex.graph.memory.memory_context import CHARACTERS_PER_TOKEN, condense, context, directions
from trex.graph.tree.experiment import Diagnosis, Experiment
from trex.graph.tree.tree import Tree


def _large(size: int = 1000) -> Tree:
    rng = random.Random(2)
    grown = [experiment("e0000", None, 0.5)]
    for index in range(1, size):
        parent = grown[-1] if index % 3 else rng.choice(grown)
        value = rng.uniform(0.4, 0.9) if rng.random() > 0.1 else None
        direction = rng.choice(["lora", "threshold", "mix"])
        node = experiment(f"e{index:04d}", parent.id, value, direction=direction)
        insights = [f"insight {index}"]
        node.diagnosis = Diagnosis(verdict="refuted", summary="it did not help\nat all", insights=insights)
        grown.append(node)
    return Tree(grown)


def test_context_gathers_path_siblings_children_and_key_nodes() -> None:
    rows = [("e0", None, 0.5), ("e1", "e0", 0.8), ("e2", "e0", 0.6), ("e3", "e1", 0.7), ("e4", "e3", None)]
    memory = context(tree(rows), "e3")
    assert memory.node.id == "e3"
    assert [e.id for e in memory.path] == ["e0", "e1", "e3"]
    assert memory.siblings == ()
    assert [e.id for e in memory.children] == ["e4"]
    assert memory.key_nodes[0].id == "e1"
    assert [e.id for e in context(tree(rows), "e1").siblings] == ["e2"]
    with pytest.raises(TrexError, match="no experiment 'e9'"):
        context(tree(rows), "e9")


def test_condensed_text_says_what_was_done_and_what_came_of_it() -> None:
    rows = [("e0", None, 0.5), ("e1", "e0", 0.8), ("e2", "e0", 0.6), ("e3", "e1", None)]
    text = condense(context(tree(rows), "e1"), 2000)
    headings = [line for line in text.splitlines() if line.startswith("## ")]
    assert headings == [
        "## To refine",
        "## Path from the root",
        "## Already tried from here",
        "## Key experiments of the whole tree",  # it tells the sibling, too
        "## What each direction brought",
    ]
    assert "accuracy 0.800 ± 0.030" in text
    assert "failed, the loss became NaN" in text
    assert "a higher rate learns more" in text
    assert "adjust_training/learning_rate: 3 tried, 1 failed, mean gain +" in text


@given(experiments(), st.integers(0, 600))
@settings(max_examples=60)
def test_text_stays_within_any_budget(grown: list[Experiment], budget: int) -> None:
    family = Tree(grown)
    for node in (family.order[0], family.order[-1]):
        text = condense(context(family, node), budget)
        assert len(text) <= budget * CHARACTERS_PER_TOKEN
        assert text == condense(context(Tree(grown[::-1]), node), budget)


def test_a_thousand_nodes_fit_the_budget_and_keep_the_nearest_ancestors() -> None:
    family = _large()
    node = max(family.order, key=family.depth)
    text = condense(context(family, node), 1500)
    assert 2900 < len(text) <= 6000
    assert "more left out)" in text
    path = text.split("## Path from the root\n")[1].split("\n\n")[0]
    parent = family.parent(node)
    assert parent is not None
    assert f"- {parent.id} " in path
    assert f"- {family.root.id} " not in path
    assert "it did not help at all" in path


def test_a_thousand_nodes_take_under_50_ms() -> None:
    grown = list(_large())
    seconds = []
    for _ in range(5):
        start = time.process_time()
        family = Tree(grown)
        condense(context(family, grown[-1].id), 2000)
        seconds.append(time.process_time() - start)
    print(f"tree, context and text of 1 000 nodes: {min(seconds) * 1e3:.1f} ms")
    assert min(seconds) < 0.05


def test_directions_count_tries_failures_and_gains() -> None:
    grown = [experiment("e0", None, 0.5)]
    for number, value in enumerate([0.7, 0.72, None], start=1):
        grown.append(experiment(f"e{number}", "e0", value, direction="lora"))
    grown.append(experiment("e4", "e0", 0.4, direction="threshold"))
    grown.append(experiment("e5", "e0", None, direction="mix"))
    grown.append(experiment("e6", "e0", status="running", direction="mix"))
    family = Tree(grown)
    found = directions(family)
    assert list(found) == [("adjust_training", name) for name in ("lora", "threshold", "mix")]
    lora, threshold, mix = found.values()
    assert (lora.tries, lora.failures) == (3, 1)
    gains = [
        posterior.gain
        for e in family.children("e0")
        if (posterior := family.posterior(e.id)) and posterior.gain
    ]
    assert lora.mean_gain == pytest.approx((gains[0] + gains[1]) / 2)
    assert lora.mean_gain is not None
    assert 0.0 < lora.mean_gain < 0.21
    assert lora.standard_error is not None
    assert threshold.standard_error is not None
    assert lora.standard_error < threshold.standard_error
    assert threshold.mean_gain is not None
    assert threshold.mean_gain < 0.0
    assert (mix.tries, mix.failures, mix.mean_gain, mix.standard_error) == (1, 1, None, None)
