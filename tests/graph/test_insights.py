"""Insights: evidence comes later, noise says nothing, repetition is one insight, the order is fixed."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.places import TESTS
from support.tree import experiment, experiments
from trex.graph.memory.insights import MOST, Insight, distil
from trex.graph.memory.memory_context import condense, context, without_memory
from trex.graph.memory.token_count import token_count
from trex.graph.tree.experiment import Claim, Diagnosis, Experiment
from trex.graph.tree.tree import Tree

HIGHER = "a higher learning rate learns more"


def claiming(node: Experiment, *claims: Claim) -> Experiment:
    """The experiment with a diagnosis that makes these claims."""
    return node.model_copy(
        update={"diagnosis": Diagnosis(verdict="supported", summary="better", claims=list(claims))}
    )


def claim(text: str = HIGHER, direction: str = "learning_rate", expects: str = "gain") -> Claim:
    return Claim.model_validate({"text": text, "direction": direction, "expects": expects})


def grown(later: list[float | None], made: Claim | None = None, direction: str = "learning_rate") -> Tree:
    """The baseline, a first plan that makes a claim, and children of it with these scores."""
    first = claiming(experiment("e001", "e000", 0.7, direction="first_plan"), made or claim())
    rest = [experiment(f"e{n:03d}", "e001", v, direction=direction) for n, v in enumerate(later, start=2)]
    return Tree([experiment("e000", None, 0.5), first, *rest])


@pytest.mark.parametrize(
    ("later", "status", "for_it", "against_it"),
    [
        ([], "open", (), ()),
        ([0.72], "open", (), ()),
        ([0.85], "confirmed", ("e002",), ()),
        ([0.85, 0.84], "confirmed", ("e002", "e003"), ()),
        ([0.55], "open", (), ("e002",)),  # one experiment tells little of a direction
        ([0.55, 0.56], "dropped", (), ("e002", "e003")),
        ([0.85, 0.55], "open", ("e002",), ("e003",)),
        ([None, None], "open", (), ()),
    ],
)
def test_status_follows_from_what_came_later(
    later: list[float | None], status: str, for_it: tuple[str, ...], against_it: tuple[str, ...]
) -> None:
    [found] = distil(grown(later))
    assert (found.status, found.evidence_for, found.evidence_against) == (status, for_it, against_it)
    assert (found.text, found.direction, found.expects, found.origin) == (
        HIGHER,
        "learning_rate",
        "gain",
        "e001",
    )


def test_the_same_outcomes_speak_the_other_way_for_a_claim_of_no_gain() -> None:
    [lost] = distil(grown([0.55, 0.56], claim(expects="no_gain")))
    [won] = distil(grown([0.85, 0.84], claim(expects="no_gain")))
    assert (lost.status, lost.evidence_for) == ("confirmed", ("e002", "e003"))
    assert (won.status, won.evidence_against) == ("dropped", ("e002", "e003"))


def test_many_gains_within_noise_show_none_and_one_outlier_is_outvoted() -> None:
    [flat] = distil(grown([0.7, 0.69, 0.71, 0.68, 0.7], claim()))
    assert flat.status == "open"  # nothing by itself beyond noise
    [outvoted] = distil(grown([0.8, 0.62, 0.6, 0.61, 0.6, 0.59], claim()))
    assert outvoted.evidence_for == ("e002",)
    assert outvoted.status == "dropped"


def test_who_claims_is_no_evidence_nor_is_what_came_before_or_elsewhere() -> None:
    nodes = [
        experiment("e000", None, 0.5),
        experiment("e001", "e000", 0.6, direction="first_plan"),
        experiment("e002", "e001", 0.8),
        claiming(experiment("e003", "e001", 0.8), claim()),
        experiment("e004", "e001", 0.8, direction="mix"),
    ]
    [found] = distil(Tree(nodes))
    assert (found.status, found.evidence_for) == ("open", ())


def test_children_of_the_baseline_are_not_measured_against_it() -> None:
    nodes = [
        experiment("e000", None, 0.5),
        claiming(experiment("e001", "e000", 0.8, direction="first_plan"), claim()),
        experiment("e002", "e000", 0.8),
        experiment("e003", "e000", 0.6),
    ]
    [found] = distil(Tree(nodes[:3]))
    assert (found.status, found.evidence_for) == ("open", ())
    [found] = distil(Tree(nodes))
    assert found.evidence_against == ("e003",)


def test_near_duplicates_are_one_insight_of_several_origins() -> None:
    tree = Tree(
        [
            experiment("e000", None, 0.5),
            claiming(experiment("e001", "e000", 0.7), claim(), claim(HIGHER.upper() + ".")),
            claiming(experiment("e002", "e001", 0.7), claim(f"{HIGHER} here", "Learning rate")),
            claiming(experiment("e003", "e001", 0.7), claim(expects="no_gain"), claim(direction="mix")),
        ]
    )
    found = {(each.direction, each.expects): each for each in distil(tree)}
    assert found.keys() == {("learning_rate", "gain"), ("learning_rate", "no_gain"), ("mix", "gain")}
    assert found["learning_rate", "gain"].origin == "e001, e002"
    assert len(distil(tree)) == 3


def test_different_words_are_different_insights() -> None:
    tree = grown([], claim())
    tree = Tree(
        [
            *tree,
            claiming(experiment("e009", "e001", 0.7), claim("a warm-up of ten steps prevents divergence")),
        ]
    )
    assert [each.origin for each in distil(tree)] == ["e009", "e001"]


def test_a_direction_of_which_nobody_claimed_anything_speaks_for_itself() -> None:
    nodes = [experiment("e000", None, 0.5), experiment("e001", "e000", 0.6, direction="first_plan")]
    values = [0.61, 0.8, 0.79, 0.78]
    nodes += [experiment(f"e{n:03d}", "e001", v, direction="mix") for n, v in enumerate(values, start=2)]
    assert distil(Tree(nodes[:4])) == ()
    [found] = distil(Tree(nodes))
    assert (found.direction, found.expects, found.origin) == ("mix", "gain", "e003")
    assert (found.evidence_for, found.status) == (("e004", "e005"), "confirmed")
    assert "brings a gain" in found.text


def test_confirmed_come_first_and_the_number_is_bounded() -> None:
    nodes = [experiment("e000", None, 0.5), experiment("e001", "e000", 0.7, direction="first_plan")]
    for number in range(2, 60):
        said = claim(f"word{number} of its{number} own{number}", "mix" if number != 5 else "lora")
        nodes.append(claiming(experiment(f"e{number:03d}", "e001", 0.7, direction="mix"), said))
    nodes.append(experiment("e099", "e001", 0.9, direction="lora"))
    found = distil(Tree(nodes))
    assert len(found) == MOST
    assert (found[0].direction, found[0].status) == ("lora", "confirmed")
    assert len(distil(Tree(nodes), 3)) == 3
    assert distil(Tree(nodes), 0) == ()


texts = st.text(
    st.one_of(
        st.characters(codec="utf-8"),
        st.sampled_from("学习率过高会导致発散する😀👩‍🔬Слишком высокая 0123456789 loss falls"),
    ),
    max_size=120,
)


@st.composite
def claiming_trees(draw: st.DrawFn) -> list[Experiment]:
    """Random trees whose diagnoses say and claim anything."""
    nodes = draw(experiments(most=15))
    return [
        node.model_copy(
            update={
                "failure": draw(texts) if node.status == "failed" else None,
                "diagnosis": Diagnosis(
                    verdict="inconclusive",
                    summary=draw(texts),
                    causes=[draw(texts)],
                    claims=[
                        Claim(
                            text=draw(texts),
                            direction=draw(st.one_of(texts, st.sampled_from(["lora", "threshold"]))),
                            expects=draw(st.sampled_from(["gain", "no_gain"])),
                        )
                        for _ in range(draw(st.integers(0, 3)))
                    ],
                ),
            }
        )
        if node.parent_id is not None
        else node
        for node in nodes
    ]


@given(claiming_trees(), st.integers(0, 900))
@settings(max_examples=60)
def test_any_text_stays_within_any_budget(nodes: list[Experiment], budget: int) -> None:
    tree = Tree(nodes)
    offered = [
        Insight(
            text="早期運行 😀" * 20, direction="lora", expects="gain", origin="run a on task b, 2026-01-02"
        )
    ]
    for node in (tree.order[0], tree.order[-1]):
        text = condense(context(tree, node, offered), budget)
        assert token_count(text) <= budget
        assert len(text.encode("utf-8", "surrogatepass")) * 0.25 <= budget
        assert text == condense(context(Tree(nodes[::-1]), node, offered), budget)


@given(claiming_trees())
def test_insights_name_only_later_scored_experiments_of_their_direction(nodes: list[Experiment]) -> None:
    tree = Tree(nodes)
    for found in distil(tree):
        ids = {*found.evidence_for, *found.evidence_against}
        assert len(ids) == len(found.evidence_for) + len(found.evidence_against)
        first = tree[found.origin.split(",")[0].split(" ")[0]]
        for each in ids:
            assert tree[each].score is not None
            assert (tree[each].round, each) > (first.round, first.id)
        if found.status == "confirmed":
            assert found.evidence_for
        if found.status == "dropped":
            assert found.evidence_against


def test_the_memory_shows_insights_with_evidence_and_offers_with_origin() -> None:
    offered = Insight(
        text="half of the rows are enough",
        direction="mix",
        expects="no_gain",
        status="confirmed",
        origin="run first on task reviews, 2026-01-02",
    )
    twin = Insight(text=HIGHER, direction="learning_rate", expects="gain", origin="run first on task reviews")
    memory = context(grown([0.85, 0.55]), "e001", [offered, twin])
    assert memory.earlier_insights == (offered,)
    text = condense(memory, 3000)
    own = text.split("## Insights of this run\n")[1].split("\n\n")[0]
    assert own == f"- open: {HIGHER} [learning_rate: expects gain; for e002; against e003; from e001]"
    theirs = text.split("## Insights of earlier runs\n")[1].split("\n\n")[0]
    assert theirs == (
        "- confirmed there: half of the rows are enough "
        "[mix: expects no gain; run first on task reviews, 2026-01-02]"
    )


def test_without_memory_a_plan_sees_the_node_alone() -> None:
    tree = grown([0.85, 0.55])
    memory = without_memory(context(tree, "e002", [Insight(text="x", direction="y", expects="gain")]))
    assert [e.id for e in memory.path] == ["e002"]
    assert (memory.siblings, memory.children, memory.key_nodes) == ((), (), ())
    assert (memory.insights, memory.earlier_insights) == ((), ())
    assert [e.id for e in memory.tree] == ["e000", "e002"]
    assert memory.node is memory.tree["e002"]
    text = condense(memory, 3000)
    assert "e002" in text
    assert not any(other in text for other in ("e001", "e003", HIGHER))
    alone = without_memory(context(tree, "e000"))
    assert (alone.node.id, [e.id for e in alone.tree]) == ("e000", ["e000"])


@pytest.mark.parametrize(
    ("text", "tokens"),  # as SmolLM2's tokenizer counts them
    [
        ("The loss was still falling when training ended, so a higher learning rate should help the model "
         "learn more from the reviews. ", 25),
        ("0123456789", 10),
        ("accuracy 0.812 ± 0.030, gain +0.043 (better with probability 0.92) ", 33),
        ("学习率过高会导致训练损失发散,应当降低学习率并增加数据量。", 53),
        ("学習率が高すぎると損失が発散するので下げるべきです。", 47),
        ("Слишком высокая скорость обучения приводит к расходимости потерь.", 46),
        ("😀🚀🔥✨🤖👩‍🔬🏳️‍🌈", 31),
    ],
)  # fmt: skip
def test_tokens_are_not_counted_short(text: str, tokens: int) -> None:
    assert tokens <= token_count(text) + 1
    assert token_count(text + text) == 2 * token_count(text)


def _large(size: int = 1000) -> Tree:
    rng, nodes = random.Random(3), [experiment("e0000", None, 0.5)]
    for index in range(1, size):
        parent = nodes[-1] if index % 3 else rng.choice(nodes)
        value = rng.uniform(0.4, 0.9) if rng.random() > 0.1 else None
        node = experiment(
            f"e{index:04d}", parent.id, value, direction=rng.choice(["lora", "learning_rate", "mix", "batch"])
        )
        said = [
            claim(f"{rng.choice(['rate', 'rank', 'rows'])} {rng.randrange(500)} did {rng.choice('abcdef')}",
                  rng.choice(["lora", "learning_rate", "mix", "batch"]), rng.choice(["gain", "no_gain"]))
            for _ in range(2)
        ]  # fmt: skip
        nodes.append(claiming(node, *said))
    return Tree(nodes)


def test_a_thousand_claiming_nodes_take_under_50_ms() -> None:
    nodes, seconds = list(_large()), []
    for _ in range(5):
        start = time.process_time()
        tree = Tree(nodes)
        text = condense(context(tree, nodes[-1].id), 2000)
        seconds.append(time.process_time() - start)
    print(f"tree, insights and text of 1 000 claiming nodes: {min(seconds) * 1e3:.1f} ms")
    assert "## Insights of this run" in text
    assert token_count(text) <= 2000
    assert min(seconds) < 0.05


_AGAIN = """
import sys
sys.path[:0] = [sys.argv[1], f"{sys.argv[1]}/graph"]
from test_insights import _large
from trex.graph.memory.memory_context import condense, context
tree = _large(300)
sys.stdout.buffer.write(condense(context(tree, tree.order[-1]), 2500).encode())
"""


def test_another_process_writes_the_same_text() -> None:
    tree = _large(300)
    here = condense(context(tree, tree.order[-1]), 2500).encode()
    for seed in ("1", "77"):
        there = subprocess.run(
            [sys.executable, "-c", _AGAIN, str(Path(__file__).parent)],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(TESTS)},
            capture_output=True,
            check=True,
        )
        assert there.stdout == here
