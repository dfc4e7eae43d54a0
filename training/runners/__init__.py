"""Launchers: where a training job runs.

To add one: a module here and a line in `LAUNCHERS`, or in another package an entry point of the group `trex.runners`.
"""

from __future__ import annotations

from ...registry import Registry
from .protocol import OpenLauncher

DEFAULT_LAUNCHER = "local"

LAUNCHERS = Registry[OpenLauncher](
    "launcher",
    "trex.runners",
    {
        "local": f"{__name__}.local:LocalLauncher",
        "ray": f"{__name__}.ray_cluster:RayLauncher",
        "slurm": f"{__name__}.slurm_cluster:SlurmLauncher",
    },
)
