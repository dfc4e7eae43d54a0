"""Runs one job on the node where a cluster starts it, with the limits and the watch of the local launcher.

`python -m trex.training.runners.node FOLDER RUNG STOP_STEP REQUEST`, REQUEST being a `NodeRequest` in JSON. The worker
confines itself as on any machine. It ends when this process ends, which ends when its own parent does.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from pydantic import BaseModel

from ..jobs.confinement import REQUIRE
from ..jobs.job import Job, Resources
from ..jobs.trial_folder import TrialFolder
from .worker_starter import Script, worker_environment
from .worker_watch import WorkerWatch

_INTERVAL = 0.2
_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl
# What the driver's user has set of TREX, wherever the job runs.
_DRIVERS = ("TREX_HOME", "TREX_CHECKPOINT_SECONDS", REQUIRE)


class NodeRequest(BaseModel):
    """How a worker is started on a node."""

    threads: int
    resources: Resources
    environment: dict[str, str]
    command: tuple[str, ...] | None = None
    """Another worker than the one that trains: see `LauncherOptions`."""

    @classmethod
    def of(cls, threads: int, resources: Resources, command: tuple[str, ...] | None) -> NodeRequest:
        """The request of this process, with what its user has set."""
        known = {name: os.environ[name] for name in _DRIVERS if name in os.environ}
        return cls(threads=threads, resources=resources, environment=known, command=command)

    def arguments(self, job: Job) -> list[str]:
        """The arguments of Python that run the job."""
        place = [str(job.folder.absolute()), str(job.rung), str(job.stop_step)]
        return ["-m", "trex.training.runners.node", *place, self.model_dump_json()]


def main(folder: Path, rung: int, stop_step: int, request: NodeRequest) -> int:
    """Start a worker for the job and watch it to its end; returns 0."""
    parent = os.getppid()
    job = Job(trial=TrialFolder(folder).read_plan(), rung=rung, stop_step=stop_step, folder=folder)
    command = request.command or (sys.executable, "-m", "trex.training.jobs.worker")
    starter = Script(command, worker_environment(request.threads) | request.environment, _dying_with_parent())
    worker = starter.launch(job, {})
    limits = request.resources
    watch = WorkerWatch(job, worker, limits.memory_mb, limits.seconds)

    def stop(number: int, frame: FrameType | None) -> None:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, stop)
    try:
        while worker.alive() and watch.check():
            if os.getppid() != parent:  # killed, so that it could not end this process
                break
            time.sleep(_INTERVAL)
    finally:
        if worker.alive():
            watch.end()
    return 0


def _dying_with_parent() -> Callable[[], None]:
    """To be called in a new child: the kernel kills it when the thread that started it ends. Linux only."""
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None  # nothing may be imported in the child

    def ask() -> None:
        if libc is not None:
            libc.prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL)

    return ask


if __name__ == "__main__":
    given = NodeRequest.model_validate_json(sys.argv[4])
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), given))
