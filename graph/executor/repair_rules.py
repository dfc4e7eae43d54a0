"""Repair rules: what the Executor may change when a plan cannot be carried out as written.

One rule a cause, each a small change that keeps the hypothesis; every repair is reported, and they are bounded.
Causes without a rule fail at once: a repair that hides a fault of the plan would teach the Researcher nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ...training.jobs.job import Cause
from ...training.plan import TrainingPlan

MAX_REPAIRS = 3
_LONGEST = 32_768


@dataclass(frozen=True)
class TrainingRepair:
    """A changed training plan, and the sentence that reports it."""

    plan: TrainingPlan
    report: str


def repair_training(plan: TrainingPlan, cause: Cause) -> TrainingRepair | None:
    """The plan to try instead after that failure; None if there is no rule, or it has nothing left to change."""
    rule = _TRAINING_RULES.get(cause)
    return rule(plan) if rule else None


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
