"""Watches one worker: heartbeat, memory, time. Ends it, and never another process."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress

import psutil

from ..jobs.job import Job
from ..jobs.trial_folder import Failure, StatusReader, TrialFolder
from .worker_starter import Started

_MEMORY_INTERVAL = 0.5
_TERMINATION_GRACE = 2.0
_KILL_PATIENCE = 10.0


class WorkerWatch:
    """One worker, started by this process (`started`) or by another one (None).

    `memory_mb` and `seconds` are the limits of the job, None: no limit. A worker without a heartbeat for `stale_s`
    seconds is treated as hung.
    """

    def __init__(
        self,
        job: Job,
        started: Started | None,
        memory_mb: float | None = None,
        seconds: float | None = None,
        stale_s: float = 90.0,
    ) -> None:
        self.job = job
        self.folder = TrialFolder(job.folder)
        self._started = started
        self._memory_limit_mb, self._seconds, self._stale_s = memory_mb, seconds, stale_s
        self._status = StatusReader(job)
        # The age of a heartbeat is measured by our monotonic clock from the last new status, so that neither a
        # suspended machine nor a changed system time makes a worker look hung.
        self._begun = self._alive_at = time.monotonic()
        self._memory_at = 0.0

    def check(self) -> bool:
        """Whether the worker still runs. A worker beyond a limit is ended; cause.json names the limit."""
        if not self.alive():
            return False
        if self._status.new() is not None:
            self._alive_at = time.monotonic()
        if (failure := self._exceeded()) is not None:
            self.folder.write_cause(failure)
            self.end()
            return False
        if time.monotonic() - self._alive_at > self._stale_s:
            # Hung or stopped. This is not the trial's fault, so it is started again.
            self._signal(signal.SIGKILL)
            self._wait(_KILL_PATIENCE)
            return False
        return True

    def alive(self) -> bool:
        """Whether the worker runs, or another one that took the lock before it."""
        return (self._started is not None and self._started.alive()) or self.folder.locked()

    def end(self) -> None:
        """Kill the worker's process group; for a cancelled job, send SIGTERM first."""
        cause = self.folder.read_cause(self.job.rung)
        if cause is not None and cause.cause == "cancelled":
            self._signal(signal.SIGTERM)
            if self._wait(_TERMINATION_GRACE):
                return
        self._signal(signal.SIGKILL)
        self._wait(_KILL_PATIENCE)

    def _exceeded(self) -> Failure | None:
        """A failure for the limit that the job exceeds, if any."""
        rung, seconds, memory = self.job.rung, self._seconds, self._memory_limit_mb
        if seconds is not None and time.monotonic() - self._begun > seconds:
            return Failure.of(rung, "timeout", f"the job took more than {seconds:.0f} s")
        if memory is not None and (used := self._memory_mb()) > memory:
            status = self.folder.read_status()
            stage = None if status is None else status.stage
            message = f"the job used {used:.0f} MB, the limit is {memory:.0f} MB"
            return Failure.of(rung, "out_of_memory", message, stage)
        return None

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
        """The worker's process: the one started here, or the owner in the lock file if it has that file open.

        The process id alone is not enough: the system may have given it to another process.
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
            else:  # just after its start, before it has its own session
                process.send_signal(number)

    def _wait(self, seconds: float) -> bool:
        """Wait until the worker has ended; False if it still runs after `seconds`."""
        end = time.monotonic() + seconds
        while self.alive():
            if time.monotonic() > end:
                return False
            time.sleep(0.02)
        return True
