"""Scoring one model on some items: prompts, answers, values per item, score. The grader's only arithmetic.

This module and what it imports decide a score; `evaluator_version` hashes them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ...errors import InputError
from ..conversations import Message
from ..engines.protocol import Completion, InferenceEngine
from ..metrics.judging import Ask, JudgedAnswer, TooManyUnjudged, Verdicts
from ..metrics.measure import Measured, measure
from ..metrics.protocol import JudgedMetric, LikelihoodMetric, Metric, SampledMetric
from ..results import Score
from ..statistics.intervals import score_measured
from ..task import SplitItem, Task
from ..usable_rows import answered

ScoringMethod = Literal["choices", "generation"]


@dataclass(frozen=True)
class ScoredAnswers:
    """The answers of a model, what the metric measured of each, and the score of all.

    `unjudged` are the ids of items to which a judge gave no verdict.
    """

    answers: Sequence[Completion]
    measured: Measured
    score: Score
    unjudged: tuple[str, ...] = ()


@dataclass(frozen=True)
class Judging:
    """How a judge is asked, and the base model's answers to the same items, which it may compare with."""

    ask: Ask
    base_answers: Callable[[], Sequence[str]]


def score_model(
    engine: InferenceEngine,
    metric: Metric,
    task: Task,
    items: Sequence[SplitItem],
    method: ScoringMethod,
    adapter: Path | None,
    judging: Judging | None = None,
) -> ScoredAnswers:
    """Score an adapter (None: the base model). `choices` needs a task with choices, a `JudgedMetric` needs `judging`.

    Raises TrexError for no items and for a metric that returns unusable values, IntegrityError for an adapter that
    cannot be loaded.
    """
    if isinstance(metric, JudgedMetric):
        return _score_judged(engine, metric, task, items, adapter, judging)
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


def _score_judged(
    engine: InferenceEngine,
    metric: JudgedMetric,
    task: Task,
    items: Sequence[SplitItem],
    adapter: Path | None,
    judging: Judging | None,
) -> ScoredAnswers:
    """Score answers by a judge's verdicts. Raises TooManyUnjudged if more items than the metric allows get none."""
    refuse_choices(task, metric)
    if judging is None:
        raise InputError(
            f"task {task.name!r}: metric {metric.name!r} needs a judge: give --judge PROVIDER:MODEL"
        )
    conversations = [task.prompt.turns(item.row) for item in items]
    answers = engine.generate(conversations, task.generation, adapter)
    texts = [answer.text for answer in answers]
    others = judging.base_answers() if metric.against_base and adapter is not None else texts
    verdicts, problems = _verdicts(metric, judging.ask, items, conversations, texts, others)
    unjudged = tuple(
        str(item["id"]) for item, own in zip(items, verdicts, strict=True) if metric.unjudged(own)
    )
    if len(unjudged) > metric.max_unjudged * len(items):
        why = f": {problems[0]}" if problems else ""
        raise TooManyUnjudged(
            f"the judge gave no verdict on {len(unjudged)} of {len(items)} items, more than {metric.max_unjudged:.0%}"
            f"{why}"
        )
    measured = measure(metric, items, verdicts)
    return ScoredAnswers(answers, measured, score_measured(metric, measured), unjudged)


def _verdicts(
    metric: JudgedMetric,
    ask: Ask,
    items: Sequence[SplitItem],
    conversations: Sequence[Sequence[Message]],
    texts: Sequence[str],
    others: Sequence[str],
) -> tuple[list[Verdicts], list[str]]:
    """The verdicts on each answer, and why there are none where there are none."""
    shown = [
        JudgedAnswer(item, _question(turns), own, other)
        for item, turns, own, other in zip(items, conversations, texts, others, strict=True)
    ]
    asked = metric.questions(shown)
    allowed = int(metric.max_unjudged * len(items)) * max(map(len, asked), default=0)
    replies = iter(ask([each for own in asked for each in own], allowed))
    verdicts: list[Verdicts] = []
    problems = []
    for own in asked:
        given = [(question, next(replies)) for question in own]
        verdicts.append([reply.verdict if reply.verdict in q.verdicts else None for q, reply in given])
        problems += [reply.problem for q, reply in given if reply.verdict not in q.verdicts]
    return verdicts, problems


def _question(turns: Sequence[Message]) -> str:
    """A conversation as a judge reads it: one turn of the user as it is, several with their roles."""
    if len(turns) == 1:
        return str(turns[0]["content"])
    return "\n\n".join(f"[{turn['role']}]\n{turn['content']}" for turn in turns)


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
    """Raises InputError for a metric of sampled or judged answers or of likelihoods on a task with choices."""
    if task.choices and isinstance(metric, SampledMetric | LikelihoodMetric | JudgedMetric):
        raise InputError(
            f"task {task.name!r}: metric {task.metric!r} needs answers in free text, but with `choices` none is: "
            "leave out `choices`, or use another metric"
        )
