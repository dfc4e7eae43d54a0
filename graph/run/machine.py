"""The machine that a run uses: cores, GPUs, memory, and how one round divides them."""

from __future__ import annotations

import os
import re
from pathlib import Path

import psutil
from pydantic import BaseModel

from .cgroup import cpu_limit, memory_limit

_LEAST_MB = 1024  # of memory for one job


class Machine(BaseModel):
    """Cores, GPUs and memory of this machine. Slots and threads follow from the cores, never from the load."""

    cores: int
    gpus: int
    memory_mb: int

    @classmethod
    def here(cls) -> Machine:
        """This machine: usable cores, CUDA devices, memory, within the limits of a container."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        memory = psutil.virtual_memory().total
        return cls(
            cores=max(1, min(cores, int(cpu_limit() or cores))),
            gpus=_cuda_devices(),
            memory_mb=min(memory, memory_limit() or memory) >> 20,
        )

    def share(self, trials: int) -> dict[str, int | str]:
        """How a round of `trials` trials uses the machine, as fields of `Settings`."""
        memory = int(self.memory_mb * 0.8)
        slots = self.gpus or max(1, min(trials, self.cores, memory // _LEAST_MB))
        return {
            "slots": slots,
            "threads": max(1, self.cores // slots),
            "grader_threads": min(self.cores, 8),
            "memory_limit_mb": max(_LEAST_MB, memory // slots),
            "device": "cuda" if self.gpus else "cpu",
        }


def _cuda_devices() -> int:
    """Counted from the driver's device files: importing torch for it would cost seconds."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([device for device in visible.split(",") if device.strip() not in ("", "-1")])
    return len([p for p in Path("/dev").glob("nvidia[0-9]*") if re.fullmatch(r"nvidia\d+", p.name)])
