"""SST-2: how a label is read from what a model writes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trex.errors import InputError
from trex.evaluation.metrics import Metric
from trex.evaluation.metrics.sst2 import Sst2, label, upstream_label


@pytest.mark.parametrize(
    ("answer", "official", "corrected"),
    [
        ("positive", 1, 1),
        (" negative\n", 0, 0),
        ("1", 1, 1),
        ("0", 0, 0),
        ("Positive", None, 1),
        ("It is negative.\nThough the cast is positive", None, 0),
        ("not positive", None, 0),
        ("positive or negative", None, None),
        ("positively", None, None),
        ("10", None, None),
        ("0.1", None, None),
        ("label: 1", None, 1),
        ("<think>negative</think>\n\npositive", None, 1),
        ("ｐｏｓｉｔｉｖｅ", None, 1),
        ("", None, None),
    ],
)
def test_labels(answer: str, official: int | None, corrected: int | None) -> None:
    assert upstream_label(answer) == official
    assert label(answer) == corrected
    for gold in (0, 1):
        assert Sst2().score_items([{"label": gold}], [answer]) == [float(corrected == gold)]
        assert Sst2(upstream=True).score_items([{"label": str(gold)}], [answer]) == [float(official == gold)]


def test_figures() -> None:
    rows, answers = (
        [{"label": 1}, {"label": 1}, {"label": 0}, {"label": 0}],
        ["positive", "Positive", "?", "1"],
    )
    assert Sst2().aggregate(Sst2().score_items(rows, answers)) == 0.5
    assert Sst2().secondary(rows, answers) == {"read": 0.75, "accuracy/upstream": 0.25}
    assert isinstance(Sst2(), Metric)


def test_errors_name_the_row() -> None:
    with pytest.raises(InputError, match="row 7 has no column 'label'"):
        Sst2().score_items([{"id": "7"}], [""])
    with pytest.raises(InputError, match="row 7: `label` must be 0 or 1, not '-1'"):
        Sst2().score_items([{"id": "7", "label": -1}], [""])


@given(answer=st.text())
def test_what_is_official_is_read(answer: str) -> None:
    assert upstream_label(answer) in (None, label(answer))
