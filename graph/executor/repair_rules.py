"""Repair rules: what the Executor may change when a plan cannot be carried out as written.

One rule a cause, each a small change that keeps the hypothesis; every repair is reported, and they are bounded.
The rules for training settings belong to the methods. Causes without a rule fail at once: a repair that hides a
fault of the plan would teach the Researcher nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...training.causes import Cause
from ...training.methods import method_of
from ...training.plan import TrainingPlan

MAX_REPAIRS = 3


@dataclass(frozen=True)
class TrainingRepair:
    """A changed training plan, and the sentence that reports it."""

    plan: TrainingPlan
    report: str


def repair_training(plan: TrainingPlan, cause: Cause) -> TrainingRepair | None:
    """The plan to try instead after that failure; None if there is no rule, or it has nothing left to change."""
    for place, stage in enumerate(plan.stages):
        if repair := method_of(stage).repair(stage, cause):
            stages = (*plan.stages[:place], repair.stage, *plan.stages[place + 1 :])
            return TrainingRepair(plan.model_copy(update={"stages": stages}), repair.report)
    return None
