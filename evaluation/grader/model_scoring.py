"""Scoring one model on some items: prompts, answers, values per item, score. The grader's only arithmetic.

This module and what it imports decide a score; `evaluator_version` hashes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ...errors import InputError
from ..engines.protocol import Completion, InferenceEngine
from ..metrics.measure import Measured, measure
from ..metrics.protocol import LikelihoodMetric, Metric, SampledMetric
from ..results import Score
from ..statistics.intervals import score_measured
from ..task import SplitItem, Task
from ..usable_rows import answered

ScoringMethod = Literal["choices", "generation"]


@dataclass(frozen=True)
class ScoredAnswers:
    """The answers of a model, what the metric measured of each, and the score of all."""

    answers: Sequence[Completion]
    measured: Measured
    score: Score


def score_model(
    engine: InferenceEngine,
    metric: Metric,
    task: Task,
    items: Sequence[SplitItem],
    method: ScoringMethod,
    adapter: Path | None,
) -> ScoredAnswers:
    """Score an adapter (None: the base model). `choices` needs a task with choices.

    Raises TrexError for no items and for a metric that returns unusable values, IntegrityError for an adapter that
    cannot be loaded.
    """
    if isinstance(metric, LikelihoodMetric):
        return _score_references(engine, metric, task, items, adapter)
    if isinstance(metric, SampledMetric):
        return _score_samples(engine, metric, task, items, adapter)
    conversations = [task.prompt.turns(item.row) for item in items]
    if method == "choices" and task.choices:
        answers = engine.choose(conversations, task.choices, task.generation, adapter)
    else:
        answers = engine.generate(conversations, task.generation, adapter, task.choices)
    measured = measure(metric, items, [answer.text for answer in answers])
    return ScoredAnswers(answers, measured, score_measured(metric, measured))


def _score_samples(
    engine: InferenceEngine,
    metric: SampledMetric,
    task: Task,
    items: Sequence[SplitItem],
    adapter: Path | None,
) -> ScoredAnswers:
    """Score several sampled answers an item. Of each item the answer that the metric picks is kept."""
    refuse_choices(task, metric)
    conversations = [task.prompt.turns(item.row) for item in items]
    drawn = engine.sample(conversations, task.generation, metric.sampling, adapter)
    texts = [[answer.text for answer in answers] for answers in drawn]
    measured = measure(metric, items, texts)
    kept = [answers[metric.pick(item, own)] for item, own, answers in zip(items, texts, drawn, strict=True)]
    return ScoredAnswers(kept, measured, score_measured(metric, measured))


def _score_references(
    engine: InferenceEngine,
    metric: LikelihoodMetric,
    task: Task,
    items: Sequence[SplitItem],
    adapter: Path | None,
) -> ScoredAnswers:
    """Score how likely the model holds the right answers, which are kept as if the model had given them."""
    refuse_choices(task, metric)
    conversations = [answered(task, item.row) for item in items]
    found = engine.likelihoods(conversations, adapter)
    measured = measure(metric, items, [(each.log_probability, each.tokens) for each in found])
    kept = [Completion(conversation[-1]["content"]) for conversation in conversations]
    return ScoredAnswers(kept, measured, score_measured(metric, measured))


def refuse_choices(task: Task, metric: Metric) -> None:
    """Raises InputError for a metric of sampled answers or of likelihoods on a task whose answers are chosen."""
    if task.choices and isinstance(metric, SampledMetric | LikelihoodMetric):
        raise InputError(
            f"task {task.name!r}: metric {task.metric!r} needs answers in free text, but with `choices` none is: "
            "leave out `choices`, or use another metric"
        )
