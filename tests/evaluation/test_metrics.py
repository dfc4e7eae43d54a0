from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trex.errors import InputError, TrexError
from trex.evaluation.metrics import Metric, measure, metric
from trex.evaluation.metrics.accuracy import Accuracy


class Faulty:
    """Returns whatever rows it is told to."""

    name = "faulty"

    def __init__(self, rows: list[float] | None = None, secondary: dict[str, float] | None = None) -> None:
        self._rows = rows or [1.0]
        self._extras = secondary or {}

    def rows(self, items: object, predictions: object) -> list[float]:
        return self._rows

    def aggregate(self, rows: object) -> float:
        return 1.0

    def secondary(self, items: object, predictions: object) -> dict[str, float]:
        return self._extras


@pytest.mark.parametrize(
    ("reference", "answer", "value"),
    [
        ("positive", "positive", 1.0),
        ("positive", "  Positive.\nBecause it is warm.", 1.0),
        ("positive", "\n\npositive", 1.0),
        ("positive", "**POSITIVE**", 1.0),
        ("positive", "It is positive", 0.0),
        ("positive", "positively", 0.0),
        ("positive", "", 0.0),
        ("positive", "negative\npositive", 0.0),
        ("", "", 1.0),
        ("…", "…", 1.0),
        ("?", "!", 0.0),
        ("ﬁne", "fine", 1.0),
        ("new  york", "New York", 1.0),
    ],
)
def test_accuracy_compares_the_first_line_normalised(reference: str, answer: str, value: float) -> None:
    assert Accuracy().score_items([{"reference": reference}], [answer]) == [value]


@given(st.text(min_size=1).filter(lambda text: "\n" not in text and len(text.splitlines()) == 1))
def test_the_gold_answer_is_always_right(text: str) -> None:
    if text.strip():
        assert Accuracy().score_items([{"reference": text}], [text]) == [1.0]


def test_accuracy_of_nothing_is_an_error() -> None:
    with pytest.raises(TrexError):
        Accuracy().score_items([], [])
    with pytest.raises(TrexError):
        Accuracy().aggregate([])


def test_metrics_are_found_by_name() -> None:
    assert isinstance(metric("accuracy"), Accuracy)
    assert isinstance(metric("accuracy"), Metric)
    assert isinstance(metric("trex.evaluation.metrics.accuracy:Accuracy"), Accuracy)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("acuracy", "known are accuracy, csbench"),
        ("no.such.module:Metric", "no.such.module"),
        ("trex.evaluation.metrics.accuracy:Nothing", "Nothing"),
        ("pathlib:Path", "lacks"),
    ],
)
def test_an_unknown_metric_is_refused(name: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        metric(name)


@pytest.mark.parametrize(
    ("faulty", "says"),
    [
        (Faulty([math.nan]), "nan for item abc"),
        (Faulty([math.inf]), "inf for item abc"),
        (Faulty([1.0, 1.0]), "2 values for 1 items"),
        (Faulty(secondary={"validity": math.nan}), "validity"),
    ],
)
def test_a_metric_that_misbehaves_is_one_clear_error(faulty: Faulty, says: str) -> None:
    with pytest.raises(TrexError, match=says) as caught:
        measure(faulty, [{"id": "abc"}], ["x"])
    assert "\n" not in str(caught.value)


def test_no_items_cannot_be_measured() -> None:
    with pytest.raises(TrexError, match="no items"):
        measure(Faulty(), [], [])
