"""What a plan needs to know of the task: the metric in words, an item as the model sees it, sizes, noise, the base."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from pathlib import Path

from ....errors import TrexError
from ....evaluation.failures.analysis import Failures
from ....evaluation.metrics import metric
from ....evaluation.results import Evaluation
from ....evaluation.splits import search_items
from ....evaluation.task import Task
from ....evaluation.task_check import FileCheck, TaskCheck
from ....files import read_json
from ....tools.excerpt import brief, cut, fitting
from ....tools.untrusted import quoted

ANSWERS = 3
"""Answers of the base model that are shown."""

_TEXT, _LINE = 700, 300  # characters


def task_briefing(
    task: Task, check: Path, run: Path, base: Evaluation | None, *, answers: bool = True
) -> str:
    """The same text in every round. `check` is the run's check of the data; without `answers` no item of dev."""
    lines = [_metric_line(task), _answer_line(task)]
    if check.is_file():
        lines += _check_lines(TaskCheck.model_validate(read_json(check)))
    if base is not None:
        lines += _base_lines(task, run, base, answers)
    return quoted(fitting(lines), "the task and its data check")


def _metric_line(task: Task) -> str:
    """What the metric computes, from the first sentence of its class."""
    text = " ".join((inspect.getdoc(type(metric(task.metric))) or "").split("\n\n")[0].split())
    return f"metric {task.metric}: {brief(text, _LINE)}"


def _answer_line(task: Task) -> str:
    if task.choices:
        return f"an answer is the most likely of: {brief(', '.join(task.choices), _LINE)}"
    return f"an answer is generated greedily, at most {task.generation.max_new_tokens} tokens"


def _check_lines(check: TaskCheck) -> Iterator[str]:
    files = {entry.name: entry for entry in check.files}
    sizes = [f"{name} {files[name].kept}" for name in ("dev", "test") if name in files]
    gains = [
        f"{name} {value:.3f}" for name, value in check.smallest_gain.items() if name in ("search", "test")
    ]
    yield f"items: {', '.join(sizes)}; smallest gain that can be told from noise: {', '.join(gains)}"
    if "dev" in files:
        yield _lengths(files["dev"])
    for example in check.examples[:1]:
        yield f"a row as the model sees it: {json.dumps(cut(example['prompt'], _TEXT), ensure_ascii=False)}"
        yield f"its right answer: {json.dumps(cut(example['answer'], _LINE), ensure_ascii=False)}"


def _lengths(dev: FileCheck) -> str:
    tokens = dev.prompt_tokens
    return f"tokens of a prompt: median {tokens['p50']}, 95 % up to {tokens['p95']}, longest {tokens['max']}"


def _base_lines(task: Task, run: Path, base: Evaluation, answers: bool) -> Iterator[str]:
    score = base.score
    yield f"base model: {score.name} {score.value:.3f} ± {score.standard_error:.3f} on {score.n} search items"
    if not answers:
        return
    try:
        answered = Failures(base, task, run).answered
    except TrexError:  # predictions that were removed
        return
    rows = {item["id"]: item.row for item in search_items(task)}
    asked = sorted(task.prompt.fields - task.prompt.answer_fields)
    for item in answered[:: max(1, len(answered) // ANSWERS)][:ANSWERS]:
        given, row = item.prediction, rows[item.id]
        text = "; ".join(brief(row[name], _LINE) for name in asked if name in row)
        yield (
            f"- {json.dumps(brief(text, _LINE), ensure_ascii=False)}: right {brief(item.reference, 80)!r}, "
            f"answered {brief(given.prediction, 80)!r}, value {given.value:.2f}"
        )
