"""Jobs for launchers whose worker trains nothing."""

from __future__ import annotations

from pathlib import Path

from trex.training.jobs.job import Job, JobStatus, Resources, Trial

from support.plans import training_plan


def quiet(status: JobStatus) -> None:
    return None


def job_in(
    folder: Path,
    steps: int = 30,
    seed: int = 1,
    rung: int = 0,
    stop_step: int | None = None,
    **limits: float,
) -> Job:
    """A job of a trial; `limits` are those of `Resources`."""
    trial = Trial(
        plan=training_plan(max_steps=steps),
        base_model="anywhere",
        base_model_hash="m",
        dataset="anywhere",
        dataset_fingerprint="d",
        rows=10,
        total_steps=steps,
        seed=seed,
        threads=1,
        environment="e",
        resources=Resources(**limits),
    )
    return Job(trial=trial, rung=rung, stop_step=stop_step or steps, folder=folder / trial.id)
