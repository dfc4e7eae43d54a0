"""The result of preparing a plan: what can be trained, or why nothing can."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..tree.experiment import DatasetCard, ExperimentPlan, TrialRecord


@dataclass(frozen=True)
class Preparation:
    """The data sets by recipe and the trials as they will be run, or why the plan failed."""

    trials: list[TrialRecord]
    datasets: dict[str, DatasetCard] = field(default_factory=dict)
    repairs: tuple[str, ...] = ()
    failure: str | None = None
    plan: ExperimentPlan | None = None
    """The plan as executed, if it differs from the given one."""

    @property
    def problem(self) -> str | None:
        """Why no trial can be trained, in one sentence; None if one can."""
        if self.failure is not None or any(trial.status == "planned" for trial in self.trials):
            return self.failure
        return f"no trial passes the preflight: {self.trials[0].message}"
