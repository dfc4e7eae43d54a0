"""What a launcher is: it runs one job somewhere, and knows nothing of results, reuse or rungs.

A job's status, log and result are files in its trial's folder (see `training.jobs.job`); the launcher makes sure that
a worker writes them. A worker that dies is started again by `JobRunner`, not by the launcher.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from ..jobs.job import Job

JobState = Literal["waiting", "running", "ended"]


@dataclass(frozen=True)
class LauncherOptions:
    """What a launcher is opened with."""

    slots: int
    """Jobs at once."""
    threads: int
    """CPU threads of a job, equal to `Trial.threads`."""
    memory_limit_mb: float | None = None
    """Memory of a job, in MB; None is no limit."""
    timeout_s: float | None = None
    """Wall time of a job, in seconds; None is no limit."""
    gpus: bool = False
    """Whether each slot is one GPU."""
    command: tuple[str, ...] | None = None
    """Starts a worker by `command TRIAL_FOLDER RUNG STOP_STEP`; None is the training worker."""


class Launcher(Protocol):
    """Starts jobs, watches their limits and stops them. Safe to call from threads."""

    def start(self) -> None:
        """Begin what takes long, without waiting for it."""

    def submit(self, job: Job) -> None:
        """Ask for a worker for the job; returns at once. A job that waits or runs already stays one job.

        Raises JobFailed if no worker can be started.
        """

    def poll(self, job: Job) -> JobState:
        """Where a submitted job stands; to be called several times a second until it is 'ended'.

        A job past a limit is stopped, and the cause is written to its folder first. Raises JobFailed if no worker can
        be started.
        """

    def logs(self, job: Job) -> str:
        """What the job's workers have printed."""

    def cancel(self, job: Job) -> None:
        """Stop the job, also one started by another process, and return when it has ended; its checkpoints stay.

        Why it is stopped is in the folder's cause.json. A job that has ended already is left alone.
        """

    def close(self) -> None:
        """Release processes and connections; running jobs are left alone."""


OpenLauncher = Callable[[LauncherOptions], Launcher]
