"""What every registered metric must do, and a metric from an installed package outside of the repository."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from support.grader import films_task, model_folder
from support.metric_cases import NAMES, case, made
from support.outside_package import write_package
from support.places import SUPPORT
from trex.evaluation.grader.client import GraderClient
from trex.evaluation.metric_name import located_metric, metric_text
from trex.evaluation.metrics import METRICS, UPSTREAM, Metric, PooledMetric, measure, metric
from trex.evaluation.metrics.catalogue import in_task_file, page
from trex.evaluation.statistics.intervals import score_measured


@pytest.mark.parametrize("name", NAMES)
def test_values_aggregate_and_secondary_figures_are_finite(name: str) -> None:
    scorer, (items, gold) = made(name), case(name)
    assert isinstance(scorer, Metric) and isinstance(scorer.name, str) and scorer.name
    assert items
    for answers in (gold, [""] * len(items), ["?"] * len(items), [*gold[1:], gold[0]]):
        measured = measure(scorer, items, answers)  # one finite value per item, else TrexError
        assert all(0 <= value <= 1 for value in measured.values)
        again = measure(made(name), items, answers)
        assert (again.values, again.secondary) == (measured.values, measured.secondary)
        drawn = np.random.default_rng(0).choice(measured.values, (5, len(items)))
        assert all(math.isfinite(scorer.aggregate(resample.tolist())) for resample in drawn)
        score = score_measured(scorer, measured)
        assert 0 <= score.ci_low <= score.value <= score.ci_high <= 1 and score.n == len(items)
        if isinstance(scorer, PooledMetric):
            assert measured.counts is not None and measured.counts.shape[0] == len(items)
            assert np.isfinite(scorer.pooled(measured.counts)).all()


@pytest.mark.parametrize("name", [name for name in NAMES if not name.endswith(UPSTREAM)])
def test_gold_scores_the_maximum_and_empty_answers_do_not(name: str) -> None:
    scorer, (items, gold) = made(name), case(name)
    best = score_measured(scorer, measure(scorer, items, gold)).value
    assert best == pytest.approx(1.0)
    assert score_measured(scorer, measure(scorer, items, [""] * len(items))).value < best


@pytest.mark.parametrize("name", METRICS.own_names())
def test_examples_are_right(name: str, tmp_path: Path) -> None:
    """What `trex metrics` shows is what the metric gives."""
    examples = page(name).examples
    assert examples
    for example in examples:
        for file, code in example.code.items():
            (tmp_path / file).write_text(code, encoding="utf-8")
        made(name)
        stated = yaml.safe_load(in_task_file(name, example))["metric"]
        scorer = metric(metric_text(located_metric(stated, tmp_path)))
        [value] = measure(scorer, [example.item], [example.answer]).values
        assert value == pytest.approx(example.value, abs=1e-6)
    assert all(option.help for option in page(name).options if option.name != "similarity"), "undocumented"


TOY = """
class Vowels:
    name = "vowels"

    def __init__(self, wanted: int = 1) -> None:
        self._wanted = wanted

    def score_items(self, items, predictions):
        return [float(sum(letter in "aeiou" for letter in said) >= self._wanted) for said in predictions]

    def aggregate(self, values):
        return sum(values) / len(values)

    def secondary(self, items, predictions):
        return {}
"""


def test_a_metric_of_an_installed_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is found by its entry point, here and in the process of the grader, and takes options."""
    monkeypatch.setenv("TREX_HOME", str(tmp_path / "home"))
    package = write_package(
        tmp_path / "site", "toy_metric", TOY, {"trex.metrics": "vowels = toy_metric:Vowels"}
    )
    monkeypatch.syspath_prepend(str(package))
    assert "vowels" in METRICS.names()
    task = films_task(tmp_path, metric={"name": "vowels", "wanted": 4})
    assert task.metric == "vowels(wanted=4)"
    program = [sys.executable, str(SUPPORT / "grader.py")]
    with GraderClient(task, tmp_path / "run", model_folder(tmp_path), command=program) as grader:
        found = grader.evaluate(None, "search")  # the model says 'positive', which has four vowels
    assert (found.score.name, found.score.value) == ("vowels", 1.0)
    assert metric("vowels(wanted=5)").score_items([{}], ["positive"]) == [0.0]
