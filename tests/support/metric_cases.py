"""Every registered metric with its subtasks, and items with gold answers for each."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import pytest
from trex.evaluation.metrics import METRICS, UPSTREAM, Metric, metric
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
OPTIONS = {
    "python": "(function='operator:contains')",  # whether the answer is the name of a column
    "judge": "(rubric='Kind.')",
}


def _names() -> list[str]:
    names = []
    for name in METRICS.names():
        if name in ("perplexity", "judge"):  # score likelihoods and verdicts, not answers: tests of their own
            continue
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
INSTALLED = [name for name in NAMES if name not in ("bleu", "chrf") or find_spec("sacrebleu")]
