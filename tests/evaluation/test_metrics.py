from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trex.errors import InputError, TrexError
from trex.evaluation.metric_name import metric_text
from trex.evaluation.metrics import Metric, measure, metric
from trex.evaluation.metrics.accuracy import Accuracy
from trex.evaluation.task import Task
from trex.evaluation.task_file import load_task
from trex.files import write_jsonl, write_yaml


class Faulty:
    """Returns whatever rows it is told to."""

    name = "faulty"

    def __init__(self, rows: list[float] | None = None, secondary: dict[str, float] | None = None) -> None:
        self._rows = rows or [1.0]
        self._extras = secondary or {}

    def score_items(self, items: object, predictions: object) -> list[float]:
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
        ("item 1\nitem 2", "item 1\nitem 2", 1.0),
        ("item 1\nitem 2", "\nItem 1.\n\nitem 2\nand more", 1.0),
        ("item 1\nitem 2", "item 1", 0.0),
        ("item 1\nitem 2", "item 1 item 2", 0.0),
        ("-1", "1", 0.0),
        ("-1", "-1.", 1.0),
        ("A+", "A-", 0.0),
        ("C#", "C++", 0.0),
        ("50%", "50", 0.0),
        ("positive", "- positive", 1.0),
        ("positive", "## Positive", 1.0),
        ("positive", "<think>negative\nor</think>\npositive", 1.0),
        ("positive", "<think>positive", 0.0),
    ],
)
def test_accuracy_compares_the_first_lines_normalised(reference: str, answer: str, value: float) -> None:
    assert Accuracy().score_items([{"reference": reference}], [answer]) == [value]


@given(st.text())
def test_the_gold_answer_is_always_right(text: str) -> None:
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
        ("acuracy", "known: accuracy, bleu, chrf"),
        ("no.such.module:Metric", "no.such.module"),
        ("trex.evaluation.metrics.accuracy:Nothing", "Nothing"),
        ("pathlib:Path", "lacks"),
    ],
)
def test_an_unknown_metric_is_refused(name: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        metric(name)


NUMERIC = {"name": "numeric", "tolerance": 0.01}


@pytest.mark.parametrize(
    ("stated", "text"),
    [
        ("accuracy", "accuracy"),
        ("tomg:LogP/upstream", "tomg:LogP/upstream"),
        ({"name": "accuracy"}, "accuracy"),
        (NUMERIC, "numeric(tolerance=0.01)"),
        ("numeric( tolerance = .01 )", "numeric(tolerance=0.01)"),
        (
            {"name": "/a (b)/m.py:Mine", "words": ["a(", "b)"], "fold": True},
            "/a (b)/m.py:Mine(fold=True, words=['a(', 'b)'])",
        ),
    ],
)
def test_a_metric_with_options_has_one_text(stated: object, text: str) -> None:
    assert metric_text(stated) == text
    assert metric_text(text) == text  # what is stored is read back as it was


@pytest.mark.parametrize(
    ("stated", "says"),
    [
        ({"tolerance": 0.01}, "needs a `name`"),
        ({"name": ""}, "needs a `name`"),
        ({"name": "numeric", "tolerance": math.nan}, "options must be numbers"),
        ("numeric(tolerance=open('x'))", "options are written as"),
        ("numeric(tolerance=1, **more)", "options are written as"),
    ],
)
def test_options_that_cannot_be_read_are_refused(stated: object, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        metric_text(stated)


def test_options_reach_the_metric() -> None:
    item = [{"reference": "3.14"}]
    assert metric("numeric").score_items(item, ["3.1416"]) == [0.0]
    assert metric(metric_text(NUMERIC)).score_items(item, ["3.1416"]) == [1.0]
    assert metric("tomg(subtask='LogP')").name == metric("tomg:LogP").name


OPTIONS = r"its options are: tolerance \(float, default 0.0\), relative_tolerance \(float, default 0.0\)"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("numeric(tol=1)", rf"metric 'numeric' has no option 'tol'; {OPTIONS}"),
        ("numeric(tolerance='much')", rf"metric 'numeric': tolerance: .*valid number.*; {OPTIONS}"),
        ("numeric(tolerance=-1)", "tolerance must be a number of at least 0, not -1"),
        ("accuracy(strict=True)", "metric 'accuracy' has no option 'strict'; its options are: none"),
        ("sst2:LogP", "metric 'sst2:LogP' has no option 'subtask'"),
    ],
)
def test_a_wrong_option_is_one_line_that_lists_the_options(text: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        metric(text)
    assert "\n" not in str(caught.value)


def test_a_metric_of_an_earlier_version_is_told_the_new_names(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "class Mine:\n    name = 'mine'\n    def rows(self, items, said): return [1.0] * len(items)\n"
        "    def aggregate(self, rows): return 1.0\n    def extras(self, items, said): return {}\n"
    )
    with pytest.raises(InputError, match="`rows` is now `score_items`, `extras` is now `secondary`"):
        metric(f"{tmp_path / 'mine.py'}:Mine")


def test_a_metric_of_a_users_file_takes_options(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from trex.evaluation.metrics.accuracy import Accuracy\n"
        "class Mine(Accuracy):\n    def __init__(self, *, least: int, other='x'): self.least = least\n"
    )
    place = f"{tmp_path / 'mine.py'}:Mine"
    assert metric(f"{place}(least=3)").least == 3  # type: ignore[attr-defined]
    with pytest.raises(
        InputError, match=r"least: Input should be a valid integer.*least \(int\), other \(Any, default 'x'\)"
    ):
        metric(f"{place}(least='many')")
    with pytest.raises(InputError, match=r"cannot be made: .*least"):
        metric(place)


def test_a_task_file_may_give_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TREX_HOME", str(tmp_path / "home"))
    (tmp_path / "mine.py").write_text(
        "from trex.evaluation.metrics.numeric import Numeric\nclass Mine(Numeric): pass\n"
    )
    rows = [{"sum": f"{n}+{n}", "total": str(2 * n)} for n in range(40)]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    task = {
        "name": "sums",
        "requirement": "Add.",
        "data": "rows.jsonl",
        "prompt": {"user": "{sum}", "answer": "{total}"},
        "answer_column": "total",
    }
    for stated, text in (
        (NUMERIC, "numeric(tolerance=0.01)"),
        ({"name": "mine.py:Mine", "tolerance": 1}, f"{tmp_path / 'mine.py'}:Mine(tolerance=1)"),
        ("mine.py:Mine(tolerance=1)", f"{tmp_path / 'mine.py'}:Mine(tolerance=1)"),
    ):
        write_yaml(tmp_path / "sums.yaml", task | {"metric": stated})
        loaded = load_task(tmp_path / "sums.yaml")
        assert loaded.metric == text
        assert Task.model_validate_json(loaded.model_dump_json()) == loaded
    for wrong, says in (
        ({"tolerance": 1}, "needs a `name`"),
        ({"name": "numeric", "tol": 1}, "no option 'tol'"),
    ):
        write_yaml(tmp_path / "sums.yaml", task | {"metric": wrong})
        with pytest.raises(InputError, match=says):
            load_task(tmp_path / "sums.yaml")


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
