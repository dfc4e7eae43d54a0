"""Macro-F1 of the hallmarks of cancer, against scikit-learn, and the two ways to read labels."""

from __future__ import annotations

import json
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score
from trex.errors import InputError
from trex.evaluation.metrics import PooledMetric, measure, metric
from trex.evaluation.metrics.macro_f1 import LABELS, HallmarksMacroF1, gold_labels, labels, upstream_labels
from trex.evaluation.statistics.intervals import score_measured

SETS = st.sets(st.sampled_from(LABELS))


def row(*named: str) -> dict[str, Any]:
    return {"pmid": "1", "text": "…", "labels": ";".join(named)}


def columns(found: list[frozenset[str]]) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.array([[int(label in named) for label in LABELS] for named in found])


def score(rows: list[dict[str, Any]], answers: list[str], name: str = "hoc") -> float:
    scorer = metric(name)
    return score_measured(scorer, measure(scorer, rows, answers)).value


@pytest.mark.parametrize("name", ["hoc", "hoc/upstream"])
@pytest.mark.parametrize("seed", range(100))
def test_the_score_is_scikit_learns(name: str, seed: int) -> None:
    chance = random.Random(seed)
    size = chance.choice([1, 2, 5, 40])
    golds = [frozenset(chance.sample(LABELS, chance.randint(0, 4))) for _ in range(size)]
    found = [
        gold ^ frozenset(chance.sample(LABELS, chance.randint(0, 3))) if chance.random() < 0.7 else gold
        for gold in golds
    ]
    rows, answers = [row(*gold) for gold in golds], ["; ".join(sorted(named)) for named in found]
    true, said = columns(golds), columns(found)
    expected = f1_score(true, said, average="macro", zero_division=0)
    assert score(rows, answers, name) == pytest.approx(expected, abs=1e-12)
    measured = measure(metric(name), rows, answers)
    each = f1_score(true, said, average=None, zero_division=0)
    assert [measured.secondary[label] for label in LABELS] == pytest.approx(list(each), abs=1e-12)
    micro = f1_score(true, said, average="micro", zero_division=0)
    assert measured.secondary["micro_f1"] == pytest.approx(micro, abs=1e-12)
    for value, gold, named in zip(measured.values, golds, found, strict=True):
        shared = 2 * len(gold & named)
        assert value == pytest.approx(shared / (len(gold) + len(named)) if gold or named else 1)


def test_a_worked_example() -> None:
    rows = [row(LABELS[0], LABELS[1]), row(LABELS[0])]
    answers = [LABELS[0], f"{LABELS[0]};{LABELS[2]}"]
    assert score(rows, answers) == pytest.approx(1 / 10)  # one label of ten is right, always
    scorer = HallmarksMacroF1()
    assert scorer.counts(rows, answers).sum(axis=0).reshape(3, 10)[:, :3].tolist() == [
        [2, 0, 0],  # found
        [0, 0, 1],  # too many
        [0, 1, 0],  # missed
    ]
    assert scorer.secondary(rows, answers)["exact"] == 0
    assert scorer.score_items(rows, answers) == [pytest.approx(2 / 3), pytest.approx(2 / 3)]
    assert isinstance(scorer, PooledMetric)


def test_json_of_zeros_and_ones_is_all_ten_upstream_and_read_here() -> None:
    answer = json.dumps({label: int(label == LABELS[3]) for label in LABELS}, indent=2)
    assert upstream_labels(answer) == frozenset(LABELS)
    assert labels(answer) == {LABELS[3]}
    rows = [row(LABELS[3])]
    assert score(rows, [answer], "hoc/upstream") == score(rows, [answer]) == 0.1
    assert HallmarksMacroF1(upstream=True).score_items(rows, [answer]) == [pytest.approx(2 / 11)]
    assert HallmarksMacroF1().score_items(rows, [answer]) == [1]
    assert HallmarksMacroF1().secondary(rows, [answer])["macro_f1/upstream"] == 0.1


@pytest.mark.parametrize(
    ("answer", "official", "corrected"),
    [
        ("inducing angiogenesis", True, True),
        ("Inducing Angiogenesis", False, True),
        ("inducing-angiogenesis", False, True),
        ("inducing\nangiogenesis", False, True),
        ('{"inducing angiogenesis": 0,', True, False),
        ("{'inducing angiogenesis': '1'}", True, True),
        ('{"inducing angiogenesis": false}', True, False),
        ('{"inducing angiogenesis": true}', True, True),
        ('{"inducing angiogenesis": ,', True, False),  # the prompt's empty form repeated
        ("**inducing angiogenesis**: No", True, False),
        ("inducing angiogenesis = yes", True, True),
        ("inducing angiogenesis: ✓", True, True),
        ("inducing angiogenesis 0", True, False),
        ("inducing angiogenesis: 0. No: inducing angiogenesis: 1", True, True),
        ("<think>inducing angiogenesis?</think>none", True, False),
        ("inducing angiogenesi", False, False),
        ("", False, False),
    ],
)
def test_one_label(answer: str, official: bool, corrected: bool) -> None:
    assert upstream_labels(answer) == ({"inducing angiogenesis"} if official else set())
    assert labels(answer) == ({"inducing angiogenesis"} if corrected else set())


def test_spellings() -> None:
    assert labels("Sustaining proliferative signalling; tumour-promoting inflammation") == {
        "sustaining proliferative signaling",
        "tumor promoting inflammation",
    }
    assert gold_labels({"labels": " Inducing angiogenesis ; "}) == {"inducing angiogenesis"}
    assert gold_labels({"labels": ""}) == gold_labels({"labels": None}) == set()


def test_errors_name_the_row() -> None:
    with pytest.raises(InputError, match="row 7 has no column 'labels'"):
        HallmarksMacroF1().score_items([{"id": "7"}], [""])
    with pytest.raises(InputError, match="row 7: 'ageing' is no hallmark"):
        HallmarksMacroF1().score_items([{"id": "7", "labels": "ageing"}], [""])


@given(named=SETS, joint=st.sampled_from([";", "; ", ", ", "\n", " and "]))
def test_lists_are_read_by_both(named: set[str], joint: str) -> None:
    assert upstream_labels(joint.join(named)) == labels(joint.join(named)) == named


@given(named=SETS)
def test_json_is_read(named: set[str]) -> None:
    assert labels(json.dumps({label: int(label in named) for label in LABELS})) == named


@given(answer=st.text())
def test_any_text_is_scored(answer: str) -> None:
    assert HallmarksMacroF1().score_items([row(LABELS[0])], [answer])[0] in (0, 1)
