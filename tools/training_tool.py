"""The training tool: LoRA fine-tuning with TRL, as a job that outlives its caller."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from langchain_core.tools import BaseTool, StructuredTool
from pydantic import BaseModel, ConfigDict, Field

from ..training.data.build import BuiltDataset
from ..training.jobs.identity import make_trial
from ..training.jobs.job import Job, JobFailed, JobResult, Trial
from ..training.plan import TrainingPlan, rung_steps
from ..training.runners.job_runner import JobRunner, OnProgress

LAST_RUNG = 1_000
"""A rung past the end of every schedule: the whole of it."""


class TrainArguments(BaseModel):
    """Input of the tool `train`."""

    plan: TrainingPlan = Field(description="The training configuration")
    dataset: str = Field(description="Fingerprint of a data set made by `prepare_data`")
    rung: int = Field(default=0, ge=0, description="How far to train: the number of the rung, from 0")


class TrainingOutcome(BaseModel):
    """What `train` returns: the trial, and its result or the failure with a cause."""

    model_config = ConfigDict(arbitrary_types_allowed=True, frozen=True)

    trial: str
    total_steps: int
    last_rung: bool
    adapter: Path | None = None
    result: JobResult | None = None
    failure: JobFailed | None = None


@dataclass(frozen=True)
class TrainingContext:
    """What training needs beside a plan; fixed for a run, out of an agent's reach."""

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

    def job(self, plan: TrainingPlan, dataset: BuiltDataset, rung: int) -> Job:
        """The job that brings this plan on this data set to the end of a rung."""
        trial = make_trial(
            plan=plan,
            base_model=self.model,
            base_model_hash=self.model_hash,
            dataset=dataset.folder,
            dataset_fingerprint=dataset.fingerprint,
            rows=dataset.rows,
            seed=self.seed,
            threads=self.threads,
            device=self.device,
        )
        ends = self.ends(trial)
        rung = min(rung, len(ends) - 1)
        return Job(trial=trial, rung=rung, stop_step=ends[rung], folder=self.trials / trial.id)

    def ends(self, trial: Trial) -> list[int]:
        """Where the trial's rungs end, in steps."""
        return rung_steps(trial.total_steps, self.rungs)


def training_tool(bench: TrainingContext) -> BaseTool:
    """The tool `train`. A failure of the training is an outcome, not an exception."""

    def train(plan: TrainingPlan, dataset: str, rung: int = 0) -> TrainingOutcome:
        job = bench.job(plan, BuiltDataset.open(bench.datasets / dataset), rung)
        known = TrainingOutcome(
            trial=job.trial.id,
            total_steps=job.trial.total_steps,
            last_rung=job.stop_step == job.trial.total_steps,
        )
        try:
            result = bench.runner.run(job, bench.deadline(), bench.on_progress)
        except JobFailed as failure:
            return known.model_copy(update={"failure": failure})
        adapter = job.folder / "rungs" / str(job.rung) / "adapter"
        return known.model_copy(update={"result": result, "adapter": adapter})

    return StructuredTool.from_function(
        func=train,
        name="train",
        description="Fine-tune the base model with LoRA on a prepared data set up to a rung of its schedule.",
        args_schema=TrainArguments,
    )
