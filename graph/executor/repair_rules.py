"""Repair rules: what the Executor may change when a plan cannot be carried out as written.

One rule a cause, each a small change that keeps the hypothesis; every repair is reported, and they are bounded.
Causes without a rule fail at once: a repair that hides a fault of the plan would teach the Researcher nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ...training.data.recipe import DataRecipe, Filter, HashSplit, Sample, Step, Stream, Threshold
from ...training.jobs.job import Cause
from ...training.plan import TrainingPlan

MAX_REPAIRS = 3
_LONGEST = 32_768


@dataclass(frozen=True)
class TrainingRepair:
    """A changed training plan, and the sentence that reports it."""

    plan: TrainingPlan
    report: str


@dataclass(frozen=True)
class RecipeRepair:
    """A changed recipe, and the sentence that reports it."""

    recipe: DataRecipe
    report: str


def repair_training(plan: TrainingPlan, cause: Cause) -> TrainingRepair | None:
    """The plan to try instead after that failure; None if there is no rule, or it has nothing left to change."""
    rule = _TRAINING_RULES.get(cause)
    return rule(plan) if rule else None


def repair_recipe(recipe: DataRecipe) -> RecipeRepair | None:
    """A recipe that left no rows, with its most selective step taken out; None if it selects nothing."""
    for kind in (Filter, HashSplit, Threshold, Sample):
        repaired = _without_last(recipe, kind)
        if repaired:
            return repaired
    return None


def _raise_max_length(plan: TrainingPlan) -> TrainingRepair | None:
    if plan.max_length >= _LONGEST:
        return None
    length = min(plan.max_length * 2, _LONGEST)
    return TrainingRepair(
        plan.model_copy(update={"max_length": length}),
        f"rows were longer than max_length {plan.max_length}: raised to {length}",
    )


def _smaller_batches(plan: TrainingPlan) -> TrainingRepair | None:
    if plan.batch_size == 1:
        return None
    batch = plan.batch_size // 2
    accumulation = min(plan.gradient_accumulation * plan.batch_size // batch, 128)
    return TrainingRepair(
        plan.model_copy(update={"batch_size": batch, "gradient_accumulation": accumulation}),
        f"out of memory at batch size {plan.batch_size}: {batch} with {accumulation}× accumulation instead",
    )


def _lower_learning_rate(plan: TrainingPlan) -> TrainingRepair | None:
    if plan.learning_rate < 1e-6:
        return None
    rate = plan.learning_rate / 3
    return TrainingRepair(
        plan.model_copy(update={"learning_rate": rate, "warmup_ratio": max(plan.warmup_ratio, 0.1)}),
        f"the loss became NaN at learning rate {plan.learning_rate:g}: {rate:g} with warm-up instead",
    )


def _end_marker(plan: TrainingPlan) -> TrainingRepair | None:
    if plan.append_eos:
        return None
    return TrainingRepair(
        plan.model_copy(update={"append_eos": True}),
        "answers did not end with the end-of-sequence token: it is appended",
    )


_TRAINING_RULES: dict[Cause, Callable[[TrainingPlan], TrainingRepair | None]] = {
    "too_long": _raise_max_length,
    "out_of_memory": _smaller_batches,
    "nan_loss": _lower_learning_rate,
    "no_eos": _end_marker,
}


def _without_last(recipe: DataRecipe, kind: type[Step]) -> RecipeRepair | None:
    """Drop the last step of that kind, common steps first; a threshold keeps its labels and loses its margin."""
    steps = _relax(recipe.steps, kind)
    if steps is not None:
        return RecipeRepair(recipe.model_copy(update={"steps": steps}), _report(kind, "the common steps"))
    for index in reversed(range(len(recipe.streams))):
        stream: Stream = recipe.streams[index]
        steps = _relax(stream.steps, kind)
        if steps is not None:
            changed = stream.model_copy(update={"steps": steps})
            streams = (*recipe.streams[:index], changed, *recipe.streams[index + 1 :])
            return RecipeRepair(
                recipe.model_copy(update={"streams": streams}), _report(kind, f"source '{stream.source}'")
            )
    return None


def _relax(steps: tuple[Step, ...], kind: type[Step]) -> tuple[Step, ...] | None:
    for index in reversed(range(len(steps))):
        step = steps[index]
        if not isinstance(step, kind):
            continue
        if not isinstance(step, Threshold):
            return (*steps[:index], *steps[index + 1 :])
        if step.above > step.below:
            middle = (step.above + step.below) / 2
            relaxed = step.model_copy(update={"above": middle, "below": middle})
            return (*steps[:index], relaxed, *steps[index + 1 :])
    return None


def _report(kind: type[Step], where: str) -> str:
    done = "its margin was closed" if kind is Threshold else "it was taken out"
    return f"no rows were left after the {kind.__name__.lower()} step of {where}: {done}"
