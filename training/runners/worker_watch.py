"""Watching one worker: progress, memory, time, signs of life; and ending it without hitting anybody else."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import psutil

from ...files import write_atomic
from ..jobs.job import Job
from ..jobs.trial_folder import Failure, TrialFolder
from . import OnProgress
from .worker_starter import Started

_POLL = 0.05
_MEMORY_INTERVAL = 0.5
_TERMINATION_GRACE = 2.0
_KILL_PATIENCE = 10.0


@dataclass(frozen=True)
class Limits:
    """What a job may take. `stale_seconds`: without a heartbeat for that long a worker counts as hung."""

    memory_mb: float | None = None
    seconds: float | None = None
    stale_seconds: float = 90.0


class Watch:
    """One worker, started here (`started`) or found at work (`None`)."""

    def __init__(
        self, job: Job, started: Started | None, limits: Limits, cancelled: Callable[[], bool]
    ) -> None:
        self.job = job
        self.folder = TrialFolder(job.folder)
        self.step = 0
        self._started = started
        self._limits = limits
        self._cancelled = cancelled
        self._begun = self._alive_at = time.monotonic()
        self._memory_at = 0.0
        self._status_stamp = 0
        self._heartbeat = 0.0

    def keep(self, deadline: float | None, on_progress: OnProgress) -> None:
        """Return when the worker is gone: by itself, or past a limit that cause.json names."""
        while self.alive():
            self._read_status(on_progress)
            failure = self._verdict(deadline)
            if failure is not None:
                self.end(failure)
                break
            if time.monotonic() - self._alive_at > self._limits.stale_seconds:
                # Hung or stopped, no fault of the trial: it is started again.
                self._signal(signal.SIGKILL)
                self._wait(_KILL_PATIENCE)
                break
            time.sleep(_POLL)
        self._read_status(on_progress)

    def alive(self) -> bool:
        """Whether the worker, or another one that beat it to the lock, is there."""
        return (self._started is not None and self._started.alive()) or self.folder.locked()

    def end(self, failure: Failure) -> None:
        """Write the cause, then kill the worker's process group. A cancelled one is asked to end first."""
        write_atomic(self.folder.cause_file, failure.model_dump_json(indent=1) + "\n")
        if failure.cause == "cancelled":
            self._signal(signal.SIGTERM)
            if self._wait(_TERMINATION_GRACE):
                return
        self._signal(signal.SIGKILL)
        self._wait(_KILL_PATIENCE)

    def _verdict(self, deadline: float | None) -> Failure | None:
        rung = self.job.rung
        if self._cancelled():
            return Failure.of(rung, "cancelled", "cancelled")
        if deadline is not None and time.time() >= deadline:
            # The run's time is up, not the trial's: a run with more time goes on from the checkpoint.
            return Failure(rung=rung, cause="timeout", message="the run's time is up", lasting=False)
        seconds, memory = self._limits.seconds, self._limits.memory_mb
        if seconds is not None and time.monotonic() - self._begun > seconds:
            return Failure.of(rung, "timeout", f"the job took more than {seconds:.0f} s")
        if memory is not None and (used := self._memory_mb()) > memory:
            return Failure.of(
                rung, "out_of_memory", f"the job used {used:.0f} MB, the limit is {memory:.0f} MB"
            )
        return None

    def _read_status(self, on_progress: OnProgress) -> None:
        """Pass on a new status. Staleness counts by our clock from the last change seen, so that neither a
        suspended machine nor a changed system time makes a worker look hung."""
        with suppress(FileNotFoundError):
            stamp = self.folder.status_file.stat().st_mtime_ns
            if stamp == self._status_stamp:
                return
            self._status_stamp = stamp
            status = self.folder.read_status()
            if status is None or status.rung != self.job.rung or status.heartbeat == self._heartbeat:
                return
            self._heartbeat = status.heartbeat
            self._alive_at = time.monotonic()
            self.step = max(self.step, status.step)
            on_progress(status)

    def _memory_mb(self) -> float:
        """Resident memory of the worker and its children; 0 between readings, half a second apart."""
        if time.monotonic() - self._memory_at < _MEMORY_INTERVAL:
            return 0.0
        self._memory_at = time.monotonic()
        total = 0
        with suppress(psutil.NoSuchProcess):
            process = self._process()
            for one in [] if process is None else [process, *process.children(recursive=True)]:
                with suppress(psutil.NoSuchProcess):
                    total += one.memory_info().rss
        return total / 2**20

    def _process(self) -> psutil.Process | None:
        """The worker's process: ours, or the one that says it took the lock and has the lock file open.

        A pid alone proves nothing: it may long belong to somebody else.
        """
        if self._started is not None and self._started.alive():
            return psutil.Process(self._started.pid)
        owner = self.folder.lock_owner()
        if owner is None or owner == os.getpid():
            return None
        lock = os.path.realpath(self.folder.lock_file)
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            process = psutil.Process(owner)
            if any(os.path.realpath(file.path) == lock for file in process.open_files()):
                return process
        return None

    def _signal(self, number: signal.Signals) -> None:
        with suppress(psutil.NoSuchProcess, ProcessLookupError):
            process = self._process()
            if process is None:
                return
            if os.getpgid(process.pid) == process.pid:
                os.killpg(process.pid, number)
            else:  # in the instant between its start and its own session
                process.send_signal(number)

    def _wait(self, seconds: float) -> bool:
        """Wait for the worker to be gone."""
        end = time.monotonic() + seconds
        while self.alive():
            if time.monotonic() > end:
                return False
            time.sleep(0.02)
        return True
