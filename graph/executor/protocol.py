"""The interface of a repair agent, which the Executor uses where no rule applies (`agent.repair_agent`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ...training.jobs.job import JobFailed
from ..tree.experiment import DatasetCard, ExperimentPlan, TrialRecord
from .preparation import Preparation
from .repair_rules import TrainingRepair

# Prepares a plan by rules, with gate and preflight. If the plan cannot be executed, the result says why.
Attempt = Callable[[ExperimentPlan], Preparation]

# Trains a trial to the end of its first rung and scores it, without repairs. An unchanged trial reuses this job for its
# first rung and is not trained twice.
Probe = Callable[[TrialRecord, DatasetCard], TrialRecord]


class RepairAgent(Protocol):
    """Proposes repairs. Each is checked like any other plan."""

    def prepare(
        self, plan: ExperimentPlan, first: Preparation, attempt: Attempt, probe: Probe, experiment: str
    ) -> Preparation:
        """The preparation to use: one made by `attempt`, or `first`, which the rules made.

        Each change and each use of `probe` is a sentence in `repairs` that begins with 'model:'. Without an answer
        of the model it is `first` with a note.
        """

    def repair(self, trial: TrialRecord, failure: JobFailed, experiment: str) -> TrainingRepair:
        """A changed training plan after a failure without a rule, and the reason.

        The trial's own plan if no change would help.
        """
