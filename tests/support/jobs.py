"""Jobs for launchers whose worker trains nothing."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trex.training.jobs.job import Job, JobStatus, Resources, Trial
from trex.training.jobs.trial_folder import TrialFolder

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


@contextmanager
def killed_once(path: Path, from_step: int) -> Iterator[list[int]]:
    """The worker of a trial's folder is killed when it trains at that step or later; gives the steps of the kills."""
    folder, ended, kills = TrialFolder(path), threading.Event(), list[int]()

    def kill() -> None:
        while not kills and not ended.wait(0.001):
            status = folder.read_status()
            if (
                status is not None
                and status.state == "training"
                and status.step >= from_step
                and folder.locked()
            ):
                os.kill(status.pid, signal.SIGKILL)
                kills.append(status.step)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        yield kills
    finally:
        ended.set()
        killer.join()
