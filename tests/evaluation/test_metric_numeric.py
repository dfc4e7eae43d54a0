from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trex.errors import InputError
from trex.evaluation.metrics.numeric import Numeric, last_number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("9 * 2 = 18 dollars.", 18.0),
        ("Total: $1250.00", 1250.0),
        ("1,250", 1250.0),
        ("12,345,678.9", 12345678.9),
        ("1,2,3", 3.0),
        ("7-3", 3.0),
        ("-3", -3.0),
        ("x = \u22124.5e3", -4500.0),
        ("答案是１８。", 18.0),
        (".5", 0.5),
        ("<think>1 or 2</think> five", None),
        ("B2", None),
        ("1e999", None),
        ("", None),
    ],
)
def test_the_last_number_of_an_answer_is_read(text: str, number: float | None) -> None:
    assert last_number(text) == number


@pytest.mark.parametrize(
    ("options", "answer", "right"),
    [
        ({}, "200", True),
        ({}, "200.0", True),
        ({}, "199", False),
        ({"tolerance": 1}, "199", True),
        ({"tolerance": 1}, "198.9", False),
        ({"relative_tolerance": 0.01}, "198", True),
        ({"relative_tolerance": 0.01}, "197.9", False),
        ({"tolerance": 5, "relative_tolerance": 0.01}, "195", True),  # the larger one counts
        ({"tolerance": 1e9}, "none", False),
    ],
)
def test_the_tolerances(options: dict[str, float], answer: str, right: bool) -> None:
    assert Numeric(**options).score_items([{"reference": "200"}], [answer]) == [float(right)]


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_equals_itself_however_it_is_written(number: float) -> None:
    for text in (repr(number), f"The answer is {number!r}."):
        assert Numeric().score_items([{"reference": repr(number)}], [text]) == [1.0]


def test_what_cannot_be_compared_is_an_error() -> None:
    with pytest.raises(InputError, match="row 7: the reference 'many' holds no number"):
        Numeric().score_items([{"id": "7", "reference": "many"}], ["3"])
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="relative_tolerance must be a number of at least 0"):
            Numeric(relative_tolerance=wrong)


def test_the_share_of_answers_with_a_number_is_reported() -> None:
    assert Numeric().secondary([{}, {}], ["3", "three"]) == {"read": 0.5}
