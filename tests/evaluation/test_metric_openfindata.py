"""OpenFinData: the official scorer with its faults, and what was corrected."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.places import DATA
from trex.errors import InputError
from trex.evaluation.metrics import measure, metric
from trex.evaluation.metrics.openfindata import ENTITIES, LETTERS, SUBTASKS, OpenFinData, names
from trex.files import read_jsonl

OFFICIAL = list(read_jsonl(DATA / "openfindata_official.jsonl"))


def test_every_official_value_is_reproduced() -> None:
    rows, answers = [case["row"] for case in OFFICIAL], [case["answer"] for case in OFFICIAL]
    assert len(rows) >= 200
    official = OpenFinData(upstream=True)
    values = official.score_items(rows, answers)
    assert values == [case["score"] for case in OFFICIAL]
    assert 0.2 < official.aggregate(values) < 0.8  # the table tells right from wrong


@pytest.mark.parametrize(
    ("answer", "official", "corrected"),
    [
        ("B", 1, 1),
        ("B. 沪市", 1, 1),
        ("b", 0, 1),
        ("Ｂ", 0, 1),
        ("答案是B，因为GDP增长", 0, 1),
        ("B，见600519.SH", 0, 1),
        ("选B，不选C", 0, 1),
        ("B（ROE）", 0, 1),
        ("A不对，C不对，所以答案为B", 1, 1),
        ("不是B", 1, 0),
        ("B。选项C错误。", 0, 1),
        ("A、B", 1, 0),
        ("D", 0, 0),
        ("", 0, 0),
    ],
)
def test_choices(answer: str, official: int, corrected: int) -> None:
    row = {"id": "1", "answer": "B", "A": "甲", "B": "乙", "C": "丙"}
    assert OpenFinData("financial_facts", upstream=True).score_items([row], [answer]) == [official]
    assert OpenFinData("financial_facts").score_items([row], [answer]) == [corrected]


def test_only_the_options_of_the_set_are_options() -> None:
    row = {"answer": "C", "subtask": "financial_facts"}
    assert OpenFinData().score_items([row], ["C，见D表"]) == [1]
    assert OpenFinData().score_items([{"answer": "E", "subtask": "intent_understanding"}], ["E"]) == [1]
    assert {name: LETTERS[name][-1] for name in LETTERS} == {
        "emotion_identification": "C",
        "entity_disambiguation": "C",
        "financial_facts": "C",
        "data_inspection": "D",
        "financial_terminology": "D",
        "metric_calculation": "D",
        "value_extraction": "D",
        "intent_understanding": "E",
    }


@pytest.mark.parametrize(
    ("gold", "answer", "official", "corrected"),
    [
        ("甲银行、乙证券", "甲银行、乙证券", 1, 1),
        ("甲银行、乙证券", "提到的公司有：甲银行，乙证券。", 1, 1),
        ("甲银行、乙证券", "1. 甲银行（600000.SH）\n2. 乙证券", 1, 1),
        ("甲银行、乙证券", "甲银行", 0, 2 / 3),
        ("甲银行、乙证券", "甲银行、乙证券、丙集团", 1, 0.8),
        ("甲银行、乙证券", "昨日甲银行与乙证券签约。", 1, 0),  # the question repeated
        ("甲银行、", "甲银行", 1, 1),
        ("", "", 1, 0),
        ("apple、Tesla", "Apple、tesla", 0, 1),
        ("甲银行", "", 0, 0),
        ("甲银行、乙证券", '["甲银行", "乙证券"]', 1, 1),
        ("甲银行、乙证券", '```json\n{"公司": ["甲银行（600000.SH）", "乙证券"]}\n```', 1, 1),
        ("甲银行、乙证券", "公司有：['甲银行'，'乙证券']", 1, 1),
        ("甲银行、乙证券", "[甲银行、乙证券]", 1, 1),
        ("甲银行、乙证券", "名称：【甲银行】【乙证券】", 1, 1),
        ("甲银行、乙证券", '["甲银行"]', 0, 2 / 3),
        ("甲银行", "[]", 0, 0),
    ],
)
def test_names(gold: str, answer: str, official: float, corrected: float) -> None:
    row = {"answer": gold}
    assert OpenFinData(ENTITIES, upstream=True).score_items([row], [answer]) == [official]
    assert OpenFinData(ENTITIES).score_items([row], [answer]) == [pytest.approx(corrected)]


def test_names_are_compared_without_marks() -> None:
    assert names("- **甲银行**\n- 乙 证券。") == {"甲银行", "乙证券"}
    assert names("、，\n") == set()


def test_the_official_share_of_names_is_rounded_as_upstream_does() -> None:
    rows = [{"answer": "甲"}] * 3
    official = OpenFinData(ENTITIES, upstream=True)
    assert official.aggregate(official.score_items(rows, ["甲", "乙", "乙"])) == 0.3333
    letters = OpenFinData("financial_facts", upstream=True)
    assert letters.aggregate([1.0, 0.0, 0.0]) == 1 / 3


def test_figures_beside_the_score() -> None:
    rows = [
        {"subtask": "financial_facts", "answer": "A"},
        {"subtask": "financial_facts", "answer": "B"},
        {"subtask": ENTITIES, "answer": "甲、乙"},
    ]
    measured = measure(metric("openfindata"), rows, ["A GDP", "不知道", "甲"])
    assert measured.values == [1, 0, pytest.approx(2 / 3)]
    assert measured.secondary == {
        "financial_facts": 0.5,
        ENTITIES: pytest.approx(2 / 3),
        "accuracy/upstream": 0,
        "read": 0.5,
    }


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": "7", "answer": "A"}, "row 7 has no column 'subtask'"),
        ({"id": "7", "subtask": "financial_facts"}, "row 7 has no column 'answer'"),
        ({"id": "7", "subtask": "poetry", "answer": "A"}, "row 7: unknown subtask 'poetry'"),
    ],
)
def test_errors_name_the_row(row: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        OpenFinData().score_items([row], [""])


def test_errors_of_sets() -> None:
    with pytest.raises(InputError, match="entity_recognition"):
        metric("openfindata:poetry")
    with pytest.raises(InputError, match="the metric scores 'data_inspection'"):
        OpenFinData("data_inspection").score_items([{"subtask": "financial_facts", "answer": "A"}], ["A"])


@given(answer=st.text(), gold=st.sampled_from("ABC"), subtask=st.sampled_from(SUBTASKS))
def test_any_text_is_scored(answer: str, gold: str, subtask: str) -> None:
    row = {"answer": gold}
    capitals = [mark for mark in answer if mark.isupper()]
    official = OpenFinData(subtask, upstream=True).score_items([row], [answer])
    assert official == [float(gold in answer if subtask == ENTITIES else capitals[-1:] == [gold])]
    assert 0 <= OpenFinData(subtask).score_items([row], [answer])[0] <= 1
    assert OpenFinData(subtask).score_items([row], [gold]) == [1]
