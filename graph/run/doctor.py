"""Checks of this machine: versions, cores, memory, confinement, disk, assets."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import sys
from dataclasses import dataclass

from ... import landlock
from ...assets import status
from ...home import home
from ...training.jobs.confinement import is_required
from ..llm.model_settings import ModelSettings
from .directory import PACKAGES
from .machine import Machine

_ENOUGH_DISK = 2 << 30
_ENOUGH_MEMORY_MB = 3 << 10


@dataclass(frozen=True)
class MachineCheck:
    """The result of one check."""

    what: str
    ok: bool
    detail: str


def check_machine() -> list[MachineCheck]:
    """Check everything that a run needs."""
    machine = Machine.here()
    place = home()
    existing = next(folder for folder in (place, *place.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    checks = [
        MachineCheck("python", sys.version_info >= (3, 11), platform.python_version()),
        *(_version(package) for package in PACKAGES),
        MachineCheck("cores", True, f"{machine.cores} cores, {machine.gpus} GPUs"),
        MachineCheck("memory", machine.memory_mb >= _ENOUGH_MEMORY_MB, f"{machine.memory_mb >> 10} GiB"),
        _confinement(),
        MachineCheck("disk", free >= _ENOUGH_DISK, f"{free >> 30} GiB free for {place}"),
    ]
    for asset in status():
        detail = (
            f"{asset.size >> 20} MB in {asset.path}" if asset.ready else "missing: `trex assets` fetches it"
        )
        checks.append(MachineCheck(asset.name, asset.ready, detail))
    return checks


def check_model(settings: ModelSettings) -> list[MachineCheck]:
    """What a chat model's server accepts in each output mode; one mode that works is enough. Raises InputError."""
    from ..llm.server_probe import probe  # other checks need none of its libraries

    results = list(probe(settings))
    works = any(result.ok for result in results)
    return [MachineCheck(each.mode, each.ok, each.detail) for each in results] + [
        MachineCheck(
            "chat model", works, f"{settings.researcher}: {'can be used' if works else 'no mode works'}"
        )
    ]


def _confinement() -> MachineCheck:
    """A kernel without Landlock is an error only if the user requires confinement."""
    version = landlock.abi()
    detail = landlock.describe(version) + ("" if version else ": training workers can read all that you can")
    return MachineCheck("confinement", bool(version) or not is_required(), detail)


def _version(package: str) -> MachineCheck:
    try:
        return MachineCheck(package, True, importlib.metadata.version(package))
    except importlib.metadata.PackageNotFoundError:
        return MachineCheck(package, False, "not installed: `make install`")
