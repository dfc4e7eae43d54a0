"""The runner of one machine: workers are processes of their own, which outlive this one."""

from __future__ import annotations

import errno
import os
import shutil
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from ..jobs import job_store as store
from ..jobs.checkpoints import remove_all
from ..jobs.job import Job, JobFailed, JobResult
from ..jobs.trial_folder import Failure, TrialFolder
from . import OnProgress
from .slots import Slots
from .worker_starter import default_starter
from .worker_watch import Limits, Watch

_DEATHS_WITHOUT_PROGRESS = 20
_TOO_LITTLE_DISK = 256 * 1024
"""With fewer bytes left a worker may not be able to say that the disk is full."""


class LocalLauncher:
    """Runs up to `slots` jobs at once with `threads` threads each; on GPUs one slot is one device.

    A worker that dies and leaves neither a result nor a cause is started again from its last checkpoint, up
    to 20 times in a row without getting further. A failure with a lasting cause is the job's result:
    submitting the job again raises it again (see `Failure`), as the same trial would fail the same way.

    Args:
        slots: Jobs at once, first come, first served. A job found running takes a slot without waiting.
        threads: CPU threads of a job, equal to `Trial.threads`.
        memory_limit_mb: Resident memory of a job, watched twice a second while this process lives.
        timeout_s: Wall time of a job since this runner started it or attached to it.
        reuse: The store of finished rungs shared between runs; None keeps to this run.
        command: Starts workers by `command TRIAL_FOLDER RUNG STOP_STEP` instead of by the fork server.
        gpus: Whether slot n sees the n-th visible CUDA device alone.
        stale_s: Without a heartbeat for so long, a worker counts as hung and is killed and started again.
    """

    def __init__(
        self,
        slots: int,
        threads: int,
        memory_limit_mb: float | None = None,
        timeout_s: float | None = None,
        reuse: Path | None = None,
        command: Sequence[str] | None = None,
        gpus: bool = False,
        stale_s: float = 90.0,
    ) -> None:
        self._slots = Slots(slots)
        self._limits = Limits(memory_limit_mb, timeout_s, stale_s)
        self._reuse = reuse
        self._gpus = gpus
        self._starter = default_starter(threads, command)
        self._guard = threading.Lock()
        self._generation = 0
        self._watches: list[Watch] = []

    def start(self) -> None:
        """Begin the workers' imports in the background, so that the first job does not wait for them."""
        self._starter.warm_up()

    def run(self, job: Job, deadline: float | None, on_progress: OnProgress) -> JobResult:
        """Block until the job is done; `deadline` in Unix time. Raises JobFailed. Safe to call from threads.

        Raises IntegrityError if the folder belongs to another trial.
        """
        generation = self._generation
        folder = TrialFolder(job.folder)

        def give_up() -> None:
            if generation != self._generation:
                raise JobFailed("cancelled", "cancelled before it started")
            if deadline is not None and time.time() >= deadline:
                raise JobFailed("timeout", "the run's time was up before the job started")

        try:
            folder.write_plan(job.trial)
            result = self._settled(job) or (store.take(job, self._reuse) if self._reuse else None)
            if result is None:
                with self._slots.one(folder.locked(), give_up) as slot:
                    result = self._pursue(job, slot, generation, deadline, on_progress)
            if self._reuse is not None:
                store.publish(job, result, self._reuse)
            return result
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise JobFailed("disk_full", f"no space left for {job.folder}: {error.strerror}") from error
            raise

    def cancel(self) -> None:
        """Stop every job, waiting or running; checkpoints stay, and a later `run` goes on from them."""
        with self._guard:
            self._generation += 1
            watches = list(self._watches)
        self._slots.wake()
        for watch in watches:
            if watch.alive():
                watch.end(Failure.of(watch.job.rung, "cancelled", "cancelled"))

    def close(self) -> None:
        """End the fork server; running jobs are left alone."""
        self._starter.close()

    def prune(self, folder: Path, keep_adapter: bool) -> None:
        """Remove a trial's checkpoints, and its adapters unless they are kept, once its outcome is recorded.

        A pruned rung that is submitted again is taken from the store, or trained again.
        """
        remove_all(folder)
        if keep_adapter:
            return
        (folder / "adapter").unlink(missing_ok=True)
        for adapter in sorted(folder.glob("rungs/*/adapter")):
            shutil.rmtree(adapter)

    def _pursue(
        self, job: Job, slot: int, generation: int, deadline: float | None, on_progress: OnProgress
    ) -> JobResult:
        """Start or attach, watch, and start again until there is a result or a cause."""
        folder, deaths, furthest = TrialFolder(job.folder), 0, 0
        while (result := self._settled(job)) is None:
            # A cause still here does not last, or a run before this one left it without killing anybody.
            folder.cause_file.unlink(missing_ok=True)
            started = None
            if not folder.locked():
                folder.failure_file(job.rung).unlink(missing_ok=True)
                started = self._starter.launch(job, self._device(slot))
            watch = Watch(job, started, self._limits, lambda: generation != self._generation)
            self._keep(watch, deadline, on_progress)
            if self._settled(job) is not None:
                continue
            if (failure := folder.read_failure(job.rung) or folder.read_cause(job.rung)) is not None:
                raise JobFailed(failure.cause, failure.message)
            deaths = 0 if watch.step > furthest else deaths + (started is not None)
            furthest = max(furthest, watch.step)
            if deaths and shutil.disk_usage(job.folder).free < _TOO_LITTLE_DISK:
                raise JobFailed("disk_full", f"no space left for {job.folder}, and its worker died")
            if deaths > _DEATHS_WITHOUT_PROGRESS:
                raise JobFailed(
                    "crash", f"the worker died {deaths} times in a row at step {furthest}: see log.txt"
                )
        return result

    def _keep(self, watch: Watch, deadline: float | None, on_progress: OnProgress) -> None:
        """Watch a worker to its end. Interrupted, by Ctrl-C say, it stays known: `cancel` finds it."""
        with self._guard:
            self._watches.append(watch)
        watch.keep(deadline, on_progress)
        with self._guard:
            self._watches.remove(watch)

    def _settled(self, job: Job) -> JobResult | None:
        """The job's result, if there is one. Raises JobFailed for a lasting failure."""
        folder = TrialFolder(job.folder)
        result = folder.read_result(job)
        if result is not None:
            return result
        if (cause := folder.read_cause(job.rung)) is not None and cause.lasting:
            if folder.locked():
                # A runner wrote the cause and was killed before it could kill.
                Watch(job, None, self._limits, lambda: False).end(cause)
            raise JobFailed(cause.cause, cause.message)
        if (failure := folder.read_failure(job.rung)) is not None and failure.lasting:
            raise JobFailed(failure.cause, failure.message)
        return None

    def _device(self, slot: int) -> dict[str, str]:
        """The one GPU of a slot, among those this process may see."""
        if not self._gpus:
            return {}
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        return {"CUDA_VISIBLE_DEVICES": visible.split(",")[slot] if visible else str(slot)}
