"""Training as a typed function: trains a plan on a data set up to a rung, in a job that runs on without its caller."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from .data.build import BuiltDataset
from .jobs.identity import make_trial
from .jobs.job import NO_LIMITS, Job, JobFailed, JobResult, Resources, StartWeights
from .jobs.trial_folder import TrialFolder
from .plan import TrainingPlan, rung_steps
from .runners.job_runner import JobRunner, OnProgress

LAST_RUNG = 1_000
"""A rung number higher than that of any schedule: train the full schedule."""


class TrainingOutcome(BaseModel, arbitrary_types_allowed=True, frozen=True):
    """The trial, and its result or its failure with a cause."""

    trial: str
    total_steps: int
    last_rung: bool
    adapter: Path | None = None
    result: JobResult | None = None
    failure: JobFailed | None = None


@dataclass(frozen=True)
class TrainingContext:
    """What training needs besides a plan. It is fixed for a run, and agents cannot change it."""

    runner: JobRunner
    model: Path
    model_hash: str
    trials: Path
    datasets: Path
    seed: int
    threads: int
    device: str
    rungs: tuple[float, ...]
    deadline: Callable[[], float | None]
    on_progress: OnProgress
    resource_class: str = ""
    """Of the nodes where trials train; '': this machine's."""
    resources: Resources = NO_LIMITS

    def job(
        self,
        plan: TrainingPlan,
        datasets: Sequence[BuiltDataset],
        rung: int,
        start: StartWeights | None = None,
    ) -> Job:
        """The job that trains this plan on the data set of each stage to the end of a rung."""
        trial = make_trial(
            plan,
            self.model,
            self.model_hash,
            datasets,
            self.seed,
            self.threads,
            device=self.device,
            resource_class=self.resource_class,
            resources=self.resources,
            start=start,
        )
        ends = rung_steps(trial.total_steps, self.rungs)
        rung = min(rung, len(ends) - 1)
        return Job(trial=trial, rung=rung, stop_step=ends[rung], folder=self.trials / trial.id)

    def train(
        self, plan: TrainingPlan, datasets: Sequence[str], rung: int, start: StartWeights | None = None
    ) -> TrainingOutcome:
        """Train to the end of a rung; `datasets` are fingerprints of the run's data sets, one a stage.

        `start`: the weights that a plan with `start: parent` continues from.

        Blocks until the job is done. A failed training is an outcome, not an exception.
        """
        job = self.job(plan, [BuiltDataset.open(self.datasets / name) for name in datasets], rung, start)
        known = TrainingOutcome(
            trial=job.trial.id,
            total_steps=job.trial.total_steps,
            last_rung=job.stop_step == job.trial.total_steps,
        )
        try:
            result = self.runner.run(job, self.deadline(), self.on_progress)
        except JobFailed as failure:
            return known.model_copy(update={"failure": failure})
        adapter = TrialFolder(job.folder).adapter(job.rung)
        return known.model_copy(update={"result": result, "adapter": adapter})
