"""Exact match of an order of four events: the official reader, and what was corrected."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.places import DATA
from trex.errors import InputError, TrexError
from trex.evaluation.metrics import Metric, measure, metric
from trex.evaluation.metrics.ordering import OrderingAccuracy, order, pairwise, upstream_order
from trex.files import read_jsonl

OFFICIAL = list(read_jsonl(DATA / "ordering_official.jsonl"))
ORDERS = ["".join(letters) for letters in permutations("ABCD")]


def test_every_official_value_is_reproduced() -> None:
    official = OrderingAccuracy(upstream=True)
    answers = [case["answer"] for case in OFFICIAL]
    values = official.score_items(OFFICIAL, answers)
    assert len(values) >= 200
    assert values == [case["exact_match"] for case in OFFICIAL]
    assert 0.2 < official.aggregate(values) < 0.8  # the table tells right from wrong
    pairs = sum(case["pairwise"] for case in OFFICIAL) / len(OFFICIAL)
    assert official.secondary(OFFICIAL, answers)["pairwise"] == pytest.approx(pairs)


@pytest.mark.parametrize(
    ("answer", "upstream", "corrected"),
    [
        ("D, A, C, B", "DACB", "DACB"),
        ("DACB", "DACB", "DACB"),
        ("D -> A → C > B", "DACB", "DACB"),
        ("first D, next A, later C, at last B", "DACB", "DACB"),
        ("d, a, c and b", "", "DACB"),  # 'and' holds an A and a D
        ("dacb", "", "DACB"),
        ("A, B, C, D looks right at first. D, A, C, B is better", "ABCD", "DACB"),
        ("Answer: D, A, C, B. Not A, B, C, D.", "DACB", "DACB"),
        ("<think>A, B, C, D</think>\nD, A, C, B", "ABCD", "DACB"),
        ("D，A，C，B", "DACB", "DACB"),
        ("**D**\n**A**\n**C**\n**B**", "DACB", "DACB"),
        ("A. Demand rises. B. Prices rise. C. Supply rises. D. Prices fall.", "ABCD", ""),
        ("Answer: A, B, C, D", "ABCD", "ABCD"),
        ("A, B, C", "", ""),
        ("A, A, B, C", "", ""),
        ("", "", ""),
    ],
)
def test_what_is_read(answer: str, upstream: str, corrected: str) -> None:
    assert "".join(upstream_order(answer)) == upstream
    assert "".join(order(answer)) == corrected


@given(
    st.sampled_from(ORDERS),
    st.sampled_from([", ", ",", " ", "; ", " -> ", "→", " > ", " | ", " then "]),
    st.sampled_from(["", "Answer: ", "The correct order is ", "Sequence - "]),
    st.sampled_from(["", ".", "\n"]),
)
def test_an_order_written_plainly_is_read_by_both(right: str, joint: str, before: str, after: str) -> None:
    answer = before + joint.join(right) + after
    assert "".join(order(answer)) == "".join(upstream_order(answer)) == right


@given(st.text(alphabet="ABCDabcd ,.;>\nandth:1()*é，", max_size=60))
def test_any_text_is_read_as_a_permutation_or_nothing(text: str) -> None:
    for found in (order(text), upstream_order(text)):
        assert found == () or sorted(found) == list("ABCD")


def test_only_the_very_order_is_right() -> None:
    for scorer in (OrderingAccuracy(), OrderingAccuracy(upstream=True)):
        for gold in ORDERS:
            values = scorer.score_items(
                [{"Answer": ", ".join(gold)}] * 24, [", ".join(other) for other in ORDERS]
            )
            assert values == [float(other == gold) for other in ORDERS]


def test_pairs() -> None:
    assert pairwise(tuple("BACD"), tuple("ABCD")) == pytest.approx(5 / 6)
    assert pairwise(tuple("BCDA"), tuple("ABCD")) == 0.5
    assert pairwise(tuple("DCBA"), tuple("ABCD")) == 0.0
    assert pairwise((), tuple("ABCD")) == 0.0


def test_figures_beside_the_score() -> None:
    items = [{"Answer": "D, A, C, B"}, {"Answer": "A, B, C, D"}, {"Answer": "A, B, C, D"}]
    scorer = metric("econlogicqa")
    assert isinstance(scorer, Metric)
    found = measure(scorer, items, ["d, a, c and b", "B, A, C, D", "no idea"])
    assert found.values == [1.0, 0.0, 0.0]
    assert found.secondary == pytest.approx(
        {"parsed": 2 / 3, "pairwise": (1 + 5 / 6) / 3, "accuracy/upstream": 0.0}
    )
    assert metric("econlogicqa/upstream").name == "accuracy/upstream"


def test_a_gold_that_is_no_order_matches_silence_upstream_alone() -> None:
    items = [{"Answer": "A, A, B, C"}]
    assert OrderingAccuracy(upstream=True).score_items(items, ["?"]) == [1.0]
    assert OrderingAccuracy().score_items(items, ["?"]) == [0.0]


def test_bad_input() -> None:
    with pytest.raises(InputError, match=r"row q7 .*'Answer'"):
        OrderingAccuracy().score_items([{"id": "q7", "Question": "?"}], ["A, B, C, D"])
    with pytest.raises(TrexError, match="no items"):
        OrderingAccuracy().aggregate([])
