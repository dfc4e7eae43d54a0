"""What a launcher is: it runs one job somewhere, and knows nothing of results, reuse or rungs.

A job's status, log and result are files in its trial's folder (see `training.jobs.job`); the launcher makes sure that
a worker writes them. A worker that dies is started again by `JobRunner`, not by the launcher.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from pydantic import BaseModel, Field

from ..jobs.job import Job, Resources

JobState = Literal["waiting", "running", "ended"]


class RunnerSettings(BaseModel, frozen=True, extra="forbid"):
    """What a user may set of a launcher: `--runner NAME:setting=value` or `[runner.NAME]` in trex.toml."""


NO_SETTINGS = RunnerSettings()


class ClusterSettings(RunnerSettings, frozen=True):
    """Settings of every launcher that starts jobs on other machines."""

    slots: int | None = Field(
        default=None, ge=1, description="Jobs submitted at once; default: all of a round"
    )
    threads: int | None = Field(default=None, ge=1, description="CPU threads of a job; default: the driver's")
    memory_mb: int | None = Field(
        default=None,
        ge=64,
        description="Memory of a job; default: by the base model",
    )
    devices: int = Field(default=1, ge=1, description="GPUs of a job, where its resource class is 'cuda'")
    resource_class: str = Field(
        default="", alias="class", description="Hardware of the nodes; `trex doctor --runner` prints it"
    )


@dataclass(frozen=True)
class Node:
    """A machine that can run jobs."""

    name: str
    cpus: int
    gpus: int
    memory_mb: int


@dataclass(frozen=True)
class LauncherOptions:
    """What a launcher is opened with."""

    slots: int
    """Jobs at once."""
    threads: int
    """CPU threads of a job, equal to `Trial.threads`."""
    settings: RunnerSettings = NO_SETTINGS
    """The user's settings, of the launcher's own class."""
    command: tuple[str, ...] | None = None
    """Starts a worker by `command TRIAL_FOLDER RUNG STOP_STEP`; None is the training worker."""


class Launcher(Protocol):
    """Starts jobs, watches their limits and stops them. Safe to call from threads.

    A class attribute `settings`, a subclass of `RunnerSettings`, says what a user may set.
    """

    def start(self) -> None:
        """Begin what takes long, without waiting for it."""

    def devices(self) -> Sequence[Node]:
        """The machines that jobs can run on. Raises TrexError if the cluster does not answer."""

    def submit(self, job: Job, resources: Resources) -> str:
        """Ask for a worker for the job; returns at once. A job that waits or runs already stays one job.

        Returns the name by which the job is known where it runs: it follows from the job, so that a later process
        finds the job again. Raises JobFailed if no worker can be started.
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


def settings_class(launcher: OpenLauncher) -> type[RunnerSettings]:
    """The class of a launcher's settings; one without any for a launcher that names none."""
    found = getattr(launcher, "settings", RunnerSettings)
    return found if isinstance(found, type) and issubclass(found, RunnerSettings) else RunnerSettings
