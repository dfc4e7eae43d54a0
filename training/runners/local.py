"""The launcher of one machine: workers are processes of their own, which outlive this one."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass

from ..jobs.job import Job
from ..jobs.trial_folder import TrialFolder
from .protocol import JobState, LauncherOptions
from .slots import Slots
from .worker_starter import default_starter
from .worker_watch import WorkerLimits, WorkerWatch


@dataclass(eq=False)
class _Submitted:
    """A job that waits (no slot was taken), is being started (no watch yet) or runs."""

    started: bool = False
    slot: int | None = None
    watch: WorkerWatch | None = None


class LocalLauncher:
    """Runs up to `options.slots` jobs at once; on GPUs slot n sees the n-th visible CUDA device alone.

    Memory and time of a job are watched while this process polls it.

    Args:
        stale_s: Seconds without a heartbeat after which a worker counts as hung and is killed.
    """

    def __init__(self, options: LauncherOptions, stale_s: float = 90.0) -> None:
        self._slots = Slots(options.slots)
        self._limits = WorkerLimits(options.memory_limit_mb, options.timeout_s, stale_s)
        self._gpus = options.gpus
        self._starter = default_starter(options.threads, options.command)
        self._guard = threading.Lock()
        self._jobs: dict[str, _Submitted] = {}

    def start(self) -> None:
        """Begin the workers' imports in the background, so that the first job does not wait for them."""
        self._starter.warm_up()

    def submit(self, job: Job) -> None:
        """A worker that already runs is attached to; its job takes a slot without waiting."""
        running = TrialFolder(job.folder).locked()
        with self._guard:
            if _key(job) in self._jobs:
                return
            submitted = self._jobs[_key(job)] = _Submitted()
            if running:
                submitted.started = True
                submitted.slot = self._slots.take_at_once()
                submitted.watch = WorkerWatch(job, None, self._limits)
            else:
                self._slots.join(submitted)

    def poll(self, job: Job) -> JobState:
        """Starts the job when it is its turn."""
        with self._guard:
            submitted = self._jobs.get(_key(job))
            turn = submitted is not None and not submitted.started and self._take_turn(submitted)
        if submitted is None:
            return "running" if TrialFolder(job.folder).locked() else "ended"
        if turn:
            self._launch(job, submitted)
        if submitted.watch is None:
            return "running" if submitted.started else "waiting"
        if submitted.watch.check():
            return "running"
        self._forget(job, submitted)
        return "ended"

    def logs(self, job: Job) -> str:
        """The trial's log.txt; '' if nothing was started yet."""
        log = TrialFolder(job.folder).log_file
        return log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""

    def cancel(self, job: Job) -> None:
        """A job that waits leaves the queue; a worker is killed with its process group."""
        with self._guard:
            submitted = self._jobs.get(_key(job))
            if submitted is not None and not submitted.started:
                self._slots.leave(submitted)
                del self._jobs[_key(job)]
                return
        watch = WorkerWatch(job, None, self._limits) if submitted is None else submitted.watch
        if watch is not None and watch.alive():
            watch.end()

    def close(self) -> None:
        """End the fork server; running jobs are left alone."""
        self._starter.close()

    def _take_turn(self, submitted: _Submitted) -> bool:
        submitted.slot = self._slots.take(submitted)
        submitted.started = submitted.slot is not None
        return submitted.started

    def _launch(self, job: Job, submitted: _Submitted) -> None:
        """Outside of the guard: the fork server's first answer takes seconds."""
        assert submitted.slot is not None
        try:
            worker = self._starter.launch(job, self._device(submitted.slot))
        except BaseException:
            self._forget(job, submitted)
            raise
        submitted.watch = WorkerWatch(job, worker, self._limits)

    def _forget(self, job: Job, submitted: _Submitted) -> None:
        with self._guard:
            if self._jobs.get(_key(job)) is submitted:
                del self._jobs[_key(job)]
                self._slots.give_back(submitted.slot)

    def _device(self, slot: int) -> dict[str, str]:
        """The one GPU of a slot, among those this process may see."""
        if not self._gpus:
            return {}
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        return {"CUDA_VISIBLE_DEVICES": visible.split(",")[slot] if visible else str(slot)}


def _key(job: Job) -> str:
    return f"{job.folder.absolute()}/{job.rung}"
