"""Job runners: where a training job runs. One protocol; `local` is the runner of one machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from ..jobs.job import Job, JobResult, JobStatus

OnProgress = Callable[[JobStatus], None]


class Launcher(Protocol):
    """Runs jobs, idempotently: the same job again attaches to the running one or returns its result."""

    def run(self, job: Job, deadline: float | None, on_progress: OnProgress) -> JobResult:
        """Block until the job is done; `deadline` is in Unix time. Raises JobFailed. Safe to call from threads."""
        ...

    def cancel(self) -> None:
        """Stop every running job of this runner; checkpoints stay, so that a later `run` goes on from them."""
        ...

    def prune(self, folder: Path, keep_adapter: bool) -> None:
        """Remove what a trial that ended no longer needs: its checkpoints, and its adapters unless kept."""
        ...

    def close(self) -> None:
        """Release helpers; running jobs are left alone."""
        ...
