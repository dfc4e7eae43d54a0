"""The launcher of a Slurm cluster (extra `slurm`): each job is a batch job, submitted through submitit.

A job that reaches its time limit, is preempted or loses its node goes on from its last checkpoint: Slurm queues it
again, or it is submitted again.
"""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from ...errors import InputError
from ..jobs.job import Job, JobFailed, Resources
from .cluster import ClusterLauncher, SchedulerSilent
from .protocol import ClusterSettings, LauncherOptions, Node

_PLACE = ".slurm"
"""Beside the trials' folders: a confined worker cannot write there."""
_ANSWER_SECONDS = 60.0
_OWN_MB = 256  # of the processes that start and watch the worker
_MINUTES = 24 * 60
_WAITING = {
    "PENDING",
    "CONFIGURING",
    "REQUEUED",
    "REQUEUE_FED",
    "REQUEUE_HOLD",
    "SPECIAL_EXIT",
    "RESV_DEL_HOLD",
}
# Slurm's words for what passes: a full queue, limits of a user, a controller that is down.
_PASSING = (
    "limit",
    "temporarily",
    "contact slurm",
    "timed out",
    "connection refused",
    "try again",
    "communication",
)


class SlurmSettings(ClusterSettings, frozen=True):
    """Settings of the Slurm launcher; what is not given is the cluster's default."""

    partition: str = Field(default="", description="Partition")
    account: str = Field(default="", description="Account")
    qos: str = Field(default="", description="Quality of service")
    constraint: str = Field(default="", description="Features of the nodes")
    minutes: int | None = Field(default=None, ge=1, description="Time limit of a job; a later one goes on")
    setup: str = Field(default="", description="Shell lines before the job, for example `module load cuda`")
    container: str = Field(default="", description="Options of srun for a container, separated by spaces")
    python: str = Field(default="", description="Python on the nodes; default: the driver's path")


class SlurmLauncher(ClusterLauncher):
    """Jobs as batch jobs of a Slurm cluster."""

    settings = SlurmSettings

    def __init__(self, options: LauncherOptions) -> None:
        settings = options.settings
        if not isinstance(settings, SlurmSettings):
            settings = SlurmSettings()
        super().__init__(options, SlurmScheduler(settings))


class SlurmScheduler:
    """Slurm by its commands; submission by submitit."""

    def __init__(self, settings: SlurmSettings) -> None:
        self._settings = settings

    def nodes(self) -> Sequence[Node]:
        """Nodes of the partition that are neither down nor drained."""
        partition = [f"--partition={self._settings.partition}"] if self._settings.partition else []
        lines = _command("sinfo", "--Node", "--noheader", "--format=%N|%c|%G|%m|%t", *partition).splitlines()
        rows = {line.split("|")[0]: line.split("|") for line in lines if line.count("|") == 4}
        return [
            Node(name=name, cpus=int(cpus), gpus=_gpus(gres), memory_mb=int(memory))
            for name, cpus, gres, memory, state in rows.values()
            if not state.startswith(("down", "drain", "drng", "fail", "unk"))
        ]

    def submit(
        self, name: str, job: Job, arguments: Sequence[str], threads: int, resources: Resources
    ) -> None:
        """Queue a batch job of one task. Raises SchedulerSilent while the queue is full."""
        submitit: Any = _submitit()
        wanted = self._settings
        python = wanted.python or sys.executable
        seconds = resources.seconds or _MINUTES * 60.0
        parameters: dict[str, Any] = {
            "job_name": name,
            "time": wanted.minutes or math.ceil(seconds / 60) + 5,
            "cpus_per_task": threads,
            "ntasks_per_node": 1,
            "stderr_to_stdout": True,
            "setup": [wanted.setup] if wanted.setup else None,
            "srun_args": wanted.container.split(),
        }
        named = {key: getattr(wanted, key) for key in ("partition", "account", "qos", "constraint")}
        parameters |= {key: value for key, value in named.items() if value}
        if resources.memory_mb is not None:
            parameters["mem"] = f"{int(resources.memory_mb) + _OWN_MB}MB"
        if resources.devices:
            parameters["gpus_per_node"] = resources.devices
        place = job.folder.parent.absolute() / _PLACE / name
        try:
            executor = submitit.SlurmExecutor(folder=place, python=python)
            executor.update_parameters(**parameters)
            executor.submit(submitit.helpers.CommandFunction([python, *arguments], verbose=False))
        except submitit.core.utils.FailedJobError as error:
            raise _refusal(str(error)) from error

    def states(self, names: Collection[str]) -> Mapping[str, Literal["waiting", "running"]]:
        """One `squeue` for all jobs."""
        if not names:
            return {}
        answer = _command("squeue", "--noheader", "--format=%j|%T", f"--name={','.join(names)}")
        pairs = [line.strip().split("|") for line in answer.splitlines() if "|" in line]
        return {name: "waiting" if state in _WAITING else "running" for name, state in pairs}

    def cancel(self, name: str) -> None:
        """By name, so also a job whose number was never read."""
        _command("scancel", f"--name={name}")


def _submitit() -> Any:
    """The library. Raises InputError without it."""
    try:
        import submitit
        import submitit.helpers
    except ImportError as error:
        raise InputError("the launcher 'slurm' needs submitit: pip install 'trex-finetune[slurm]'") from error
    return submitit


def _command(*words: str) -> str:
    """A Slurm command's output. Raises SchedulerSilent if it fails, InputError where Slurm is not installed."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=_ANSWER_SECONDS)
    except FileNotFoundError as error:
        raise InputError(
            f"the launcher 'slurm' needs Slurm's commands: {words[0]} is not on the PATH; start the run on a "
            "login node"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise SchedulerSilent(f"{words[0]} gives no answer in {_ANSWER_SECONDS:.0f} s") from error
    if done.returncode != 0:
        raise SchedulerSilent(f"{words[0]}: {' '.join(done.stderr.split())[:200]}")
    return done.stdout


def _refusal(text: str) -> Exception:
    """What a refused submission means: ask again, or never."""
    reason = " ".join(text.split())
    if any(word in reason.lower() for word in _PASSING):
        return SchedulerSilent(f"sbatch: {reason[:200]}")
    return JobFailed("crash", f"Slurm refuses the job: {reason[:300]}")


def _gpus(gres: str) -> int:
    """The number in 'gpu:h100:8(S:0-1),nvme:1'."""
    counts = [part.partition("(")[0].split(":")[-1] for part in gres.split(",") if part.startswith("gpu")]
    return sum(int(count) for count in counts if count.isdecimal())
