"""Runs jobs to their end: asks the store, submits to a launcher, waits, starts again what died.

The same for every launcher. A job that was run before, by this process or another one, is answered from disk.
"""

from __future__ import annotations

import errno
import shutil
import threading
import time
from collections.abc import Callable
from typing import Literal

from ..jobs.job import Job, JobFailed, JobResult, JobStatus
from ..jobs.job_store import JobStore
from ..jobs.trial_folder import Failure, StatusReader, TrialFolder
from .protocol import Launcher

OnProgress = Callable[[JobStatus], None]

_POLL_SECONDS = 0.05
_DEATHS_WITHOUT_PROGRESS = 20
_TOO_LITTLE_DISK = 256 * 1024
"""With fewer bytes left a worker may not be able to say that the disk is full."""


class JobRunner:
    """Runs jobs on a launcher, with results in a store. Safe to call from threads.

    A worker that dies and leaves neither a result nor a cause is started again from its last checkpoint, up to 20
    times in a row without progress. A failure with a lasting cause is the job's result: submitting the job again
    raises it again (see `Failure`), as the same trial would fail the same way.
    """

    def __init__(self, launcher: Launcher, store: JobStore) -> None:
        self.store = store
        self._launcher = launcher
        self._guard = threading.Lock()
        self._cancellations = 0
        self._submitted: list[Job] = []

    def run(self, job: Job, deadline: float | None, on_progress: OnProgress) -> JobResult:
        """Block until the job is done; `deadline` in Unix time. Raises JobFailed.

        Raises IntegrityError if the folder belongs to another trial.
        """
        cancellations = self._cancellations

        def reason_to_stop() -> Failure | None:
            if cancellations != self._cancellations:
                return Failure.of(job.rung, "cancelled", "cancelled")
            if deadline is not None and time.time() >= deadline:
                # The run's time is up, not the trial's: a run with more time goes on from the checkpoint.
                return Failure(rung=job.rung, cause="timeout", message="the run's time is up", lasting=False)
            return None

        try:
            TrialFolder(job.folder).write_plan(job.trial)
            result = self._known(job) or self.store.take(job)
            if result is None:
                result = self._train(job, reason_to_stop, on_progress)
            self.store.publish(job, result)
            return result
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise JobFailed("disk_full", f"no space left for {job.folder}: {error.strerror}") from error
            raise

    def cancel(self) -> None:
        """Stop every job, waiting or running; checkpoints stay, and a later `run` goes on from them."""
        with self._guard:
            self._cancellations += 1
            submitted = list(self._submitted)
        for job in submitted:
            TrialFolder(job.folder).write_cause(Failure.of(job.rung, "cancelled", "cancelled"))
            self._launcher.cancel(job)

    def close(self) -> None:
        """Close the launcher; running jobs are left alone."""
        self._launcher.close()

    def _train(
        self, job: Job, reason_to_stop: Callable[[], Failure | None], on_progress: OnProgress
    ) -> JobResult:
        """Submit, or attach to what runs, wait, and submit again until there is a result or a cause."""
        folder, deaths, furthest = TrialFolder(job.folder), 0, 0
        while (result := self._known(job)) is None:
            # A cause that is still here does not last, or its writer stopped before it ended the worker.
            folder.cause_file.unlink(missing_ok=True)
            if not folder.locked():
                folder.failure_file(job.rung).unlink(missing_ok=True)
                _stop_before_start(reason_to_stop())
            step = self._wait(job, reason_to_stop, on_progress)
            if self._known(job) is not None:
                continue
            if (failure := folder.read_failure(job.rung) or folder.read_cause(job.rung)) is not None:
                raise failure.error
            deaths = 0 if step > furthest else deaths + 1
            furthest = max(furthest, step)
            if deaths and shutil.disk_usage(job.folder).free < _TOO_LITTLE_DISK:
                raise JobFailed("disk_full", f"no space left for {job.folder}, and its worker died")
            if deaths > _DEATHS_WITHOUT_PROGRESS:
                last = (self._launcher.logs(job).strip().splitlines() or ["nothing"])[-1]
                raise JobFailed(
                    "crash",
                    f"the worker died {deaths} times in a row at step {furthest}; its log ends with: {last[:200]}",
                )
        return result

    def _wait(self, job: Job, reason_to_stop: Callable[[], Failure | None], on_progress: OnProgress) -> int:
        """Submit the job and wait until it has ended; the last step that was seen.

        Interrupted, by Ctrl-C for example, a job that runs goes on and stays known to `cancel`.
        """
        folder, reader, step = TrialFolder(job.folder), StatusReader(job), 0
        state: Literal["waiting", "running", "ended"] = "waiting"
        with self._guard:
            self._submitted.append(job)
        try:
            self._launcher.submit(job, job.trial.resources)
            while (state := self._launcher.poll(job)) != "ended":
                failure = reason_to_stop()
                if failure is not None and state == "waiting":
                    self._launcher.cancel(job)
                    _stop_before_start(failure)
                if failure is not None:
                    folder.write_cause(failure)
                    self._launcher.cancel(job)
                if (status := reader.new()) is not None:
                    step = max(step, status.step)
                    on_progress(status)
                time.sleep(_POLL_SECONDS)
        except JobFailed:
            state = "ended"
            raise
        finally:
            if state == "waiting":
                self._launcher.cancel(job)
            if state != "running":
                with self._guard:
                    self._submitted.remove(job)
        if (status := reader.new()) is not None:
            step = max(step, status.step)
            on_progress(status)
        return step

    def _known(self, job: Job) -> JobResult | None:
        """The job's result, if there is one. Raises JobFailed for a lasting failure."""
        try:
            return self.store.result(job)
        except JobFailed:
            if TrialFolder(job.folder).locked():
                # The cause was written by a process that was killed before it could stop the worker.
                self._launcher.cancel(job)
            raise


def _stop_before_start(failure: Failure | None) -> None:
    """Raise JobFailed if there is a reason to stop a job that was not started."""
    if failure is not None:
        raise JobFailed(failure.cause, f"{failure.message}, before the job started")
