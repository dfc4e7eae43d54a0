"""What all launchers of clusters share: one queue in front of the cluster's own scheduler.

A job is known to the scheduler by a name that follows from the job's folder, so that a driver that was started anew
finds what the last one submitted, and a job that is submitted twice is one job. What a job writes, it writes to its
trial's folder, which the nodes share with the driver.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from ...errors import TrexError
from ...files import fingerprint
from ..jobs.job import Job, JobFailed, Resources
from ..jobs.trial_folder import StatusReader, TrialFolder
from .node import NodeRequest
from .protocol import JobState, LauncherOptions, Node

_INTERVAL = 0.5
_STALE = 180.0  # seconds without a heartbeat; the node's own watch acts after half of it
_PATIENCE = 60.0
_GRACE = 15.0


class SchedulerSilent(TrexError):
    """The scheduler does not answer, or takes no more jobs for now: ask again."""


class Scheduler(Protocol):
    """A cluster's own queue. Every call may raise SchedulerSilent."""

    def nodes(self) -> Sequence[Node]:
        """The machines that take jobs."""

    def submit(
        self, name: str, job: Job, arguments: Sequence[str], threads: int, resources: Resources
    ) -> None:
        """Queue a process of Python with these arguments. Raises JobFailed if it never can run."""

    def states(self, names: Collection[str]) -> Mapping[str, Literal["waiting", "running"]]:
        """Where jobs stand that wait or run; the others have ended or were never submitted."""

    def cancel(self, name: str) -> None:
        """Remove a job from the queue or kill it."""


@dataclass(eq=False)
class _Submitted:
    """A job that this process has submitted, or is about to when its turn comes."""

    resources: Resources
    status: StatusReader
    since: float = field(default_factory=time.monotonic)
    queued: bool = False
    heard: float = 0.0


class ClusterLauncher:
    """Keeps up to `options.slots` jobs in a scheduler's queue, in the order of submission."""

    def __init__(self, options: LauncherOptions, scheduler: Scheduler) -> None:
        self._options = options
        self._scheduler = scheduler
        self._guard = threading.Lock()
        self._jobs: dict[str, _Submitted] = {}
        self._states: Mapping[str, JobState] = {}
        self._asked = 0.0

    def start(self) -> None:
        """Nothing to prepare: the nodes are there."""

    def devices(self) -> Sequence[Node]:
        """The nodes of the cluster."""
        return self._scheduler.nodes()

    def submit(self, job: Job, resources: Resources) -> str:
        """A job that the scheduler knows is attached to."""
        name = job_name(job)
        with self._guard:
            if name not in self._jobs:
                submitted = _Submitted(resources, StatusReader(job))
                submitted.queued = name in self._answer([name])
                self._jobs[name] = submitted
        return name

    def poll(self, job: Job) -> JobState:
        """Submits the job to the scheduler when its turn comes. While the scheduler is silent nothing changes."""
        name = job_name(job)
        with self._guard:
            submitted = self._jobs.get(name)
            if submitted is None:
                return self._answer([name]).get(name, "ended")
            if not submitted.queued and not self._queue(name, job, submitted):
                return "waiting"
            state = self._state(name)
            if state == "waiting":  # the scheduler put it back into the queue: nothing beats there
                submitted.heard = 0.0
            if state == "running" and self._lost(submitted):
                self._answer_to_cancel(name)
                state = "ended"
            if state == "ended":
                del self._jobs[name]
            return state

    def logs(self, job: Job) -> str:
        """The trial's log.txt; '' if no worker was started yet."""
        log = TrialFolder(job.folder).log_file
        return log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""

    def cancel(self, job: Job) -> None:
        """Returns when the job and its worker are gone. Raises JobFailed after a minute."""
        name, end = job_name(job), time.monotonic() + _PATIENCE
        with self._guard:
            waits = name in self._jobs and not self._jobs[name].queued
            self._jobs.pop(name, None)
        if waits:
            return
        while name in self._answer([name], unknown=[name]):
            self._answer_to_cancel(name)
            if time.monotonic() > end:
                raise JobFailed("crash", f"the scheduler does not end the job {name}")
            time.sleep(_INTERVAL)
        grace = time.monotonic() + _GRACE
        while TrialFolder(job.folder).locked() and time.monotonic() < grace:
            time.sleep(_INTERVAL / 5)

    def close(self) -> None:
        """Running jobs are left alone."""

    def _queue(self, name: str, job: Job, submitted: _Submitted) -> bool:
        """Hand the job to the scheduler if it is the next one. Called under the guard."""
        waiting = [other for other, each in self._jobs.items() if not each.queued]
        if waiting[0] != name or len(self._jobs) - len(waiting) >= self._options.slots:
            return False
        # A worker that lost its node may hold the lock for a moment: a second one would give up at once.
        if TrialFolder(job.folder).locked() and time.monotonic() - submitted.since < _STALE:
            return False
        request = NodeRequest.of(self._options.threads, submitted.resources, self._options.command)
        try:
            self._scheduler.submit(
                name, job, request.arguments(job), self._options.threads, submitted.resources
            )
        except SchedulerSilent:
            return False
        except BaseException:
            del self._jobs[name]
            raise
        submitted.queued, self._asked = True, 0.0
        return True

    def _state(self, name: str) -> JobState:
        """Asked for all jobs together, and not more often than the interval. Called under the guard."""
        if time.monotonic() - self._asked > _INTERVAL:
            known = [each for each, submitted in self._jobs.items() if submitted.queued]
            self._states = self._answer(known, unknown=known)
            self._asked = time.monotonic()
        return self._states.get(name, "ended")

    def _answer(self, names: Collection[str], unknown: Collection[str] = ()) -> Mapping[str, JobState]:
        """The scheduler's states; while it is silent what was known before, and 'waiting' for `unknown`."""
        try:
            return self._scheduler.states(names)
        except SchedulerSilent:
            return {name: self._states.get(name, "waiting") for name in unknown}

    def _answer_to_cancel(self, name: str) -> None:
        try:
            self._scheduler.cancel(name)
        except SchedulerSilent:
            return

    def _lost(self, submitted: _Submitted) -> bool:
        """Whether a running job has no heartbeat, though the scheduler believes that it runs."""
        if submitted.status.new() is not None or not submitted.heard:
            submitted.heard = time.monotonic()
        return time.monotonic() - submitted.heard > _STALE


def job_name(job: Job) -> str:
    """The name of a job in a scheduler: of its trial's folder and its rung."""
    return f"trex-{fingerprint([str(job.folder.absolute()), job.rung])}"
