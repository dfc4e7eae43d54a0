"""What the Executor asks where its own rules end. `agent.repair_agent.ExecutorAgent` answers with a chat model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ...training.jobs.job import JobFailed
from ..tree.experiment import DatasetCard, ExperimentPlan, TrialRecord
from .preparation import Preparation
from .repair_rules import TrainingRepair

# Builds a plan's data set by the rules, gate and preflight included; a plan that cannot be carried out is a result.
Attempt = Callable[[ExperimentPlan], Preparation]

# Trains a trial to the end of its first rung and scores it, without repairs. It is the job that the trial's first rung
# asks for again, so that a trial which is carried out as it was probed is not trained twice.
Probe = Callable[[TrialRecord, DatasetCard], TrialRecord]


class RepairAgent(Protocol):
    """Looks at what rules alone cannot judge. What it proposes is checked like any other plan."""

    def prepare(
        self, plan: ExperimentPlan, first: Preparation, attempt: Attempt, probe: Probe, experiment: str
    ) -> Preparation:
        """The preparation to go on with, after a look at `first`, which the rules made.

        What it returns was made by `attempt`. Its changes, and each use of `probe`, are sentences in `repairs` that
        begin with 'model:'.
        Without an answer it is `first`, with a note that says so.
        """
        ...

    def repair(self, trial: TrialRecord, failure: JobFailed, experiment: str) -> TrainingRepair:
        """One changed training plan after a failure for which there is no rule, and why.

        The trial's own plan: nothing is worth a try, for the reason reported.
        """
        ...
