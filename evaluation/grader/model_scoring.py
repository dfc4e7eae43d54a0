"""Scoring one model on some items: prompts, answers, values per item, score. The grader's only arithmetic.

This module and what it imports decide a score; `evaluator_version` hashes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..engines.protocol import Completion, InferenceEngine
from ..metrics.measure import Measured, measure
from ..metrics.protocol import Metric
from ..results import Score
from ..statistics.intervals import score_measured
from ..task import SplitItem, Task

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
    conversations = [task.prompt.messages(item.row) for item in items]
    if method == "choices" and task.choices:
        answers = engine.choose(conversations, task.choices, task.generation, adapter)
    else:
        answers = engine.generate(conversations, task.generation, adapter, task.choices)
    measured = measure(metric, items, [answer.text for answer in answers])
    return ScoredAnswers(answers, measured, score_measured(metric, measured))
