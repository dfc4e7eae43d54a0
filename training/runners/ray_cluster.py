"""The launcher of a running Ray cluster (extra `ray`): each job is a detached actor with the job's resources.

The actor outlives the driver and holds the resources until the job has ended. A lost node takes its actors along; the
job is submitted again and goes on from its last checkpoint.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from ...errors import InputError, TrexError
from ..jobs.job import Job, Resources
from .cluster import ClusterLauncher
from .protocol import ClusterSettings, LauncherOptions, Node

_NAMESPACE = "trex"
_CONNECTING = threading.Lock()  # Ray has one connection a process


class RaySettings(ClusterSettings, frozen=True):
    """Settings of the Ray launcher."""

    address: str = Field(default="auto", description="Of the cluster, as `ray.init` takes it")
    resource: str = Field(default="", description="A custom resource of the nodes to use, one a job")


class RayLauncher(ClusterLauncher):
    """Jobs as detached actors of a Ray cluster."""

    settings = RaySettings

    def __init__(self, options: LauncherOptions) -> None:
        settings = options.settings
        if not isinstance(settings, RaySettings):
            settings = RaySettings()
        super().__init__(options, RayScheduler(settings))


class RayScheduler:
    """Ray's own scheduling of actors. Connects when it is first used."""

    def __init__(self, settings: RaySettings) -> None:
        self._settings = settings
        self._answers: dict[str, Any] = {}

    def nodes(self) -> Sequence[Node]:
        """Nodes that are alive and have CPUs for jobs."""
        return [
            Node(
                name=f"{node['NodeManagerHostname']} {node['NodeID'][:6]}",
                cpus=int(node["Resources"]["CPU"]),
                gpus=int(node["Resources"].get("GPU", 0)),
                memory_mb=int(node["Resources"].get("memory", 0)) >> 20,
            )
            for node in self._ray().nodes()
            if node["Alive"] and node["Resources"].get("CPU")
        ]

    def submit(
        self, name: str, job: Job, arguments: Sequence[str], threads: int, resources: Resources
    ) -> None:
        """Create the job's actor; it waits where no node is free."""
        ray = self._ray()
        options: dict[str, Any] = {"num_cpus": threads, "num_gpus": resources.devices, "max_restarts": 0}
        if resources.memory_mb is not None:
            options["memory"] = int(resources.memory_mb * 2**20)
        if self._settings.resource:
            options["resources"] = {self._settings.resource: 1}
        actor = ray.remote(JobActor).options(name=name, lifetime="detached", get_if_exists=True, **options)
        self._answers[name] = actor.remote(list(arguments)).started.remote()

    def states(self, names: Collection[str]) -> Mapping[str, Literal["waiting", "running"]]:
        """An actor that answers runs its job; one that does not yet has no node."""
        ray = self._ray()
        found: dict[str, Literal["waiting", "running"]] = {}
        for name in names:
            try:
                actor = ray.get_actor(name)
            except ValueError:
                self._answers.pop(name, None)
                continue
            if name not in self._answers:
                self._answers[name] = actor.started.remote()
            ready, _ = ray.wait([self._answers[name]], timeout=0)
            found[name] = "running" if ready else "waiting"
        return found

    def cancel(self, name: str) -> None:
        """Kill the actor; the process that it started notices and ends the worker."""
        ray = self._ray()
        try:
            ray.kill(ray.get_actor(name))
        except ValueError:
            return

    def _ray(self) -> Any:
        """The library, connected. Raises InputError without it, TrexError without a cluster."""
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        try:
            import ray
        except ImportError as error:
            raise InputError("the launcher 'ray' needs Ray: pip install 'trex-finetune[ray]'") from error
        with _CONNECTING:
            if not ray.is_initialized():
                try:
                    ray.init(
                        address=self._settings.address,
                        namespace=_NAMESPACE,
                        log_to_driver=False,
                    )
                except (ConnectionError, RuntimeError, ValueError) as error:
                    reason = " ".join(str(error).split())[:200]
                    raise TrexError(
                        f"no Ray cluster at {self._settings.address} ({reason}): start one with `ray start --head`, "
                        "or give --runner ray:address=HOST:PORT"
                    ) from error
        return ray


class JobActor:
    """On a node: runs one job, then leaves, also when no driver is there to see it."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self._process = subprocess.Popen([sys.executable, *arguments], stdin=subprocess.DEVNULL)
        threading.Thread(target=self._leave, name="leave", daemon=True).start()

    def started(self) -> bool:
        """Answers once the actor has a node."""
        return True

    def _leave(self) -> None:
        self._process.wait()
        os._exit(0)
