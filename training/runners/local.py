"""The launcher of one machine: each worker is a separate process, which continues when this process ends."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass

from ..jobs.job import NO_LIMITS, Job, Resources
from ..jobs.trial_folder import TrialFolder
from .protocol import JobState, LauncherOptions, Node, RunnerSettings
from .this_node import this_node
from .worker_starter import Started, default_starter
from .worker_watch import WorkerWatch


@dataclass(eq=False)
class _Submitted:
    """A job that waits (not started), is being started (no watch yet) or runs."""

    resources: Resources
    started: bool = False
    slot: int | None = None
    """None also for a worker that already ran at submission while all slots were taken."""
    watch: WorkerWatch | None = None


class LocalLauncher:
    """Runs up to `options.slots` jobs at once, in the order of submission.

    A job of slot n that needs k GPUs sees only the n-th k of the visible CUDA devices. The limits on memory and
    time are checked when the job is polled.

    Args:
        stale_s: Seconds without a heartbeat after which a worker is treated as hung and is killed.
    """

    settings = RunnerSettings

    def __init__(self, options: LauncherOptions, stale_s: float = 90.0) -> None:
        self._options = options
        self._stale_s = stale_s
        self._starter = default_starter(options.threads, options.command)
        self._guard = threading.Lock()
        self._jobs: dict[str, _Submitted] = {}  # in the order of submission

    def start(self) -> None:
        """Begin the workers' imports in the background, so that the first job does not wait for them."""
        self._starter.warm_up()

    def devices(self) -> list[Node]:
        """This machine."""
        return [this_node()]

    def submit(self, job: Job, resources: Resources) -> str:
        """A job whose worker already runs does not wait for a slot."""
        running = TrialFolder(job.folder).locked()
        with self._guard:
            if _key(job) in self._jobs:
                return _key(job)
            submitted = self._jobs[_key(job)] = _Submitted(resources)
            if running:
                submitted.slot = self._free_slot()
                submitted.started = True
                submitted.watch = self._watch(job, resources)
        return _key(job)

    def poll(self, job: Job) -> JobState:
        """Starts the job if it is the next one and a slot is free."""
        with self._guard:
            submitted = self._jobs.get(_key(job))
            turn = submitted is not None and not submitted.started and self._take_slot(submitted)
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
        """The trial's log.txt; '' if no worker was started yet."""
        log = TrialFolder(job.folder).log_file
        return log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""

    def cancel(self, job: Job) -> None:
        """A waiting job is removed from the queue; a worker is killed with its process group."""
        with self._guard:
            submitted = self._jobs.get(_key(job))
            if submitted is not None and not submitted.started:
                del self._jobs[_key(job)]
                return
        watch = self._watch(job, NO_LIMITS) if submitted is None else submitted.watch
        if watch is not None and watch.alive():
            watch.end()

    def close(self) -> None:
        """End the fork server; running jobs continue."""
        self._starter.close()

    def _take_slot(self, submitted: _Submitted) -> bool:
        """Give the job a slot, if one is free and the job is the first that waits. Called under the guard."""
        first = next(each for each in self._jobs.values() if not each.started)
        if first is submitted:
            submitted.slot = self._free_slot()
        submitted.started = submitted.slot is not None
        return submitted.started

    def _free_slot(self) -> int | None:
        """The lowest free slot; None if as many jobs run as there are slots. Called under the guard."""
        running = [each.slot for each in self._jobs.values() if each.started]
        if len(running) >= self._options.slots:
            return None
        return min(set(range(self._options.slots)) - set(running))

    def _watch(self, job: Job, limits: Resources, worker: Started | None = None) -> WorkerWatch:
        return WorkerWatch(job, worker, limits.memory_mb, limits.seconds, self._stale_s)

    def _launch(self, job: Job, submitted: _Submitted) -> None:
        """Not under the guard: the fork server's first answer takes seconds."""
        assert submitted.slot is not None
        try:
            worker = self._starter.launch(job, visible_gpus(submitted.slot, submitted.resources.devices))
        except BaseException:
            self._forget(job, submitted)
            raise
        submitted.watch = self._watch(job, submitted.resources, worker)

    def _forget(self, job: Job, submitted: _Submitted) -> None:
        with self._guard:
            if self._jobs.get(_key(job)) is submitted:
                del self._jobs[_key(job)]


def _key(job: Job) -> str:
    return f"{job.folder.absolute()}/{job.rung}"


def visible_gpus(slot: int, devices: int) -> dict[str, str]:
    """The environment that shows a slot its GPUs, among those that this process may see."""
    if not devices:
        return {}
    numbers = range(slot * devices, (slot + 1) * devices)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    shown = visible.split(",") if visible else None
    return {"CUDA_VISIBLE_DEVICES": ",".join(shown[n] if shown else str(n) for n in numbers)}
