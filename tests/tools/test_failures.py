"""Failure cases by filter: the right ones, counted rightly, within bounds."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trex.errors import InputError
from trex.evaluation.failures.analysis import FailureGroup
from trex.evaluation.results import FailureCase
from trex.tools.failures_tool import failure_tool

CASES = [
    FailureCase(
        id=f"c{i:02d}", prompt=f"Review {i}: " + "not bad " * (i % 5), reference=right, prediction=said
    )
    for i, (right, said) in enumerate(
        [("positive", "negative")] * 6 + [("negative", "positive")] * 3 + [("positive", "Positive, because")]
    )
]
GROUPS = [
    FailureGroup("confusion", "positive→negative 6×", 6, [f"c{i:02d}" for i in range(6)]),
    FailureGroup("format", "answer is none of the choices 1×", 1, ["c09"]),
]
TOOL = failure_tool(lambda: CASES, lambda: GROUPS)


def shown(**arguments: Any) -> list[str]:
    return re.findall(r"^case (\w+)$", str(TOOL.invoke(arguments)), re.MULTILINE)


def test_counts_and_causes() -> None:
    text = str(TOOL.invoke({"most": 0}))
    assert "10 search items were answered wrongly; 10 match" in text
    assert "right 'positive', answered 'negative': 6\n" in text
    assert "right 'negative', answered 'positive': 3\n" in text
    assert "confusion: positive→negative 6× (6 of the matches)" in text
    assert "\ncase " not in text


def test_each_filter_chooses_its_cases() -> None:
    assert sorted(shown(reference="NEGATIVE ", most=20)) == ["c06", "c07", "c08"]
    assert sorted(shown(prediction="positive", most=20)) == ["c06", "c07", "c08", "c09"]
    assert sorted(shown(contains="review 7", most=20)) == ["c07"]
    assert sorted(shown(cause="none of the choices")) == ["c09"]
    assert sorted(shown(cause="Confusion", contains="not  bad not bad not", most=20)) == ["c03", "c04"]
    assert shown(reference="neutral") == []


def test_orders() -> None:
    assert shown(order="longest", most=2) == ["c04", "c09"]
    assert shown(order="shortest", most=2) == ["c00", "c05"]
    assert shown(most=10) == shown(most=10)
    assert sorted(shown(most=10)) == [case.id for case in CASES]
    assert shown(most=10) != [case.id for case in CASES]


def test_an_unknown_cause_lists_the_known() -> None:
    with pytest.raises(InputError, match="no cause contains 'irony'; causes: positive→negative"):
        TOOL.invoke({"cause": "irony"})
    with pytest.raises(InputError, match="none are known"):
        failure_tool(lambda: CASES).invoke({"cause": "irony"})


def test_cases_are_asked_for_anew_at_each_call() -> None:
    now: list[FailureCase] = []
    tool = failure_tool(lambda: now)
    assert "0 search items were answered wrongly" in tool.invoke({})
    now.append(CASES[0])
    assert "1 search items" in tool.invoke({})


@given(
    st.lists(
        st.builds(
            FailureCase,
            id=st.text("abc", min_size=1),
            prompt=st.text(max_size=5000),
            reference=st.text(),
            prediction=st.text(),
        ),
        max_size=30,
    )
)
def test_whatever_the_cases_the_text_is_bounded_and_fenced(cases: list[FailureCase]) -> None:
    text = str(failure_tool(lambda: cases).invoke({"most": 20}))
    assert len(text) < 9000
    assert text.startswith("[data ")
    assert text.splitlines()[-1].startswith("[end of data ")


def test_there_is_no_way_to_name_a_split_or_a_file() -> None:
    assert set(TOOL.args) == {"reference", "prediction", "contains", "cause", "order", "most"}
    assert str(TOOL.invoke({"most": 1000})).startswith("error: most: ")
    assert str(TOOL.invoke({"order": "by split"})).startswith("error: order: ")
