"""A preparation: a plan made ready to be trained, or the reason why it cannot be."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..tree.experiment import DatasetCard, ExperimentPlan, TrialRecord


@dataclass(frozen=True)
class Preparation:
    """What `prepare` hands on: the data sets by recipe and the trials as they will be run, or why it failed."""

    trials: list[TrialRecord]
    datasets: dict[str, DatasetCard] = field(default_factory=dict)
    repairs: tuple[str, ...] = ()
    failure: str | None = None
    plan: ExperimentPlan | None = None
    """The plan as it was carried out, where it is no longer the one that was handed in."""

    @property
    def problem(self) -> str | None:
        """Why nothing could be trained as things are, in a sentence; None if some trial can."""
        if self.failure is not None or any(trial.status == "planned" for trial in self.trials):
            return self.failure
        return f"no trial passes the preflight: {self.trials[0].message}"
