"""This machine: usable cores, CUDA devices, memory, within the limits of a container."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

import psutil

from .cgroup import cpu_limit, memory_limit
from .protocol import Node


def this_node() -> Node:
    """This machine as jobs may use it."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = psutil.virtual_memory().total
    return Node(
        name=platform.node(),
        cpus=max(1, min(cores, int(cpu_limit() or cores))),
        gpus=_cuda_devices(),
        memory_mb=min(memory, memory_limit() or memory) >> 20,
    )


def _cuda_devices() -> int:
    """Counted from the driver's device files: importing torch for it would cost seconds."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([device for device in visible.split(",") if device.strip() not in ("", "-1")])
    return len([p for p in Path("/dev").glob("nvidia[0-9]*") if re.fullmatch(r"nvidia\d+", p.name)])
