"""Repair rules: the changes that the Executor may make to a training plan that fails.

There is one rule per cause, a small change that keeps the hypothesis. Each repair is reported, and their number is
limited. The rules belong to the training methods. A cause without a rule fails at once, so that the Researcher sees it.
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


def repair_training(plan: TrainingPlan, cause: Cause, only: int | None = None) -> TrainingRepair | None:
    """The changed plan after that failure; None without a rule or if the rule cannot change it further.

    `only`: the stage that failed, from 0; without it the first one with a rule is changed.
    """
    for place, stage in enumerate(plan.stages):
        if only in (None, place) and (repair := method_of(stage).repair(stage, cause)):
            stages = (*plan.stages[:place], repair.stage, *plan.stages[place + 1 :])
            report = f"stage {place + 1}: {repair.report}" if len(plan.stages) > 1 else repair.report
            return TrainingRepair(plan.model_copy(update={"stages": stages}), report)
    return None
