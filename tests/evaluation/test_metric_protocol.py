"""What every registered metric must do, and a metric from an installed package outside of the repository."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from support.grader import films_task, model_folder
from support.outside_package import write_package
from support.places import SUPPORT
from trex.evaluation.grader.client import GraderClient
from trex.evaluation.metric_name import located_metric, metric_text
from trex.evaluation.metrics import METRICS, UPSTREAM, Metric, PooledMetric, measure, metric
from trex.evaluation.metrics.catalogue import in_task_file, page
from trex.evaluation.statistics.intervals import score_measured
from trex.ftbench.suite import TEN, benchmark

Case = tuple[list[dict[str, Any]], list[str]]

BENCHMARKS = {benchmark(name).metric: name for name in TEN}
FURTHER_SUBTASKS = {
    "gta": ("InstAcc", "ToolAcc", "ArgAcc", "SummAcc"),
    "rouge1": ("subjective", "objective_exam", "objective_results", "assessment_and_plan"),
}
"""Figures and divisions of all rows, which are no subtasks of the benchmark."""


def _molecules() -> Case:
    wanted = [({"carbon": 2, "oxygen": 1}, "CCO"), ({"carbon": 1, "nitrogen": 1}, "CN")]
    return [{"id": s, "kind": "atoms", "target": json.dumps(t)} for t, s in wanted], [s for _, s in wanted]


def _references(*texts: str) -> Case:
    return [{"id": text, "reference": text} for text in texts], list(texts)


def _patterns() -> Case:
    return [{"id": "1", "reference": r"^\d+$"}, {"id": "2", "reference": "cats?"}], ["17", "a cat"]


def _sentences() -> Case:
    return _references("the cat sat on the mat", "it was a warm and sunny day", "cough for three days")


OWN_CASES: dict[str, Callable[[], Case]] = {
    "accuracy": lambda: _references("positive", "two\nlines", "negative"),
    "exact_match": lambda: _references("positive", "two\nlines", "negative"),
    "macro_f1": lambda: _references("positive", "negative", "neutral"),
    "micro_f1": lambda: _references("positive", "negative", "neutral"),
    "multilabel_f1": lambda: _references("red, green", "blue", ""),
    "token_f1": _sentences,
    "numeric": lambda: _references("18", "-3.5", "1,250"),
    "contains": _sentences,
    "regex": _patterns,
    "json_match": lambda: _references('{"a": 1}', '{"a": {"b": [2]}, "c": null}', "[3]"),
    "rouge": _sentences,
    "bleu": _sentences,
    "chrf": _sentences,
    "pass_at_k": _sentences,
    "majority": _sentences,
    "python": lambda: ([{"id": name, name: 1} for name in ("one", "two")], ["one", "two"]),
    "molecules": _molecules,
}
OPTIONS = {"python": "(function='operator:contains')"}  # whether the answer is the name of a column


def _names() -> list[str]:
    names = []
    for name in METRICS.names():
        task = benchmark(BENCHMARKS[name]) if name in BENCHMARKS else None
        parts = [*(task.subtasks if task else ()), *FURTHER_SUBTASKS.get(name, ())]
        for stem in (name, *(f"{name}:{part}" for part in parts)):
            names += [stem, f"{stem}{UPSTREAM}"] if task else [stem]
    return names


def case(name: str) -> Case:
    """Items and gold answers for a metric, from the samples of its benchmark."""
    stem, _, part = name.removesuffix(UPSTREAM).partition(":")
    if stem in OWN_CASES:
        return OWN_CASES[stem]()
    if part == "Open-ended":  # has no samples, because the benchmark leaves it out
        return [{"id": "1", "Format": part, "Answer": "Because."}], ["Because."]
    found = benchmark(BENCHMARKS[stem])
    items = [{"id": str(n), **found.item(record)} for n, record in enumerate(found.samples())]
    own = (
        items if stem in FURTHER_SUBTASKS else [i for i in items if i.get("subtask", i.get("Format")) == part]
    )
    chosen = own if part else items
    if name.endswith(UPSTREAM):  # compared by a sentence model, which is not installed
        chosen = [item for item in chosen if not isinstance(item.get("gt_answer"), list)]
    answered = [item for item in chosen if item["gold"]]
    return answered, [str(item["gold"]) for item in answered]


def made(name: str) -> Metric:
    """A new instance. Skips the test where a library is not installed that the metric needs."""
    if name in ("bleu", "chrf"):
        pytest.importorskip("sacrebleu")
    return metric(name + OPTIONS.get(name, ""))


NAMES = _names()


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
