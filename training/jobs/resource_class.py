"""The resource class of a trial: what of the hardware determines its weights. It is part of the trial's identity.

Written `device/hardware/precision`, for example `cpu/x86_64+avx2+avx512f/float32` or
`cuda/NVIDIA-A100-SXM4-80GB+8.0/bfloat16-autocast`. The driver names the class that a trial is for; the worker compares
it with the hardware it runs on. So the driver of a cluster need not have the cluster's hardware.
"""

from __future__ import annotations

import functools
import platform
import shutil
import subprocess
from pathlib import Path

from ...errors import InputError, TrexError

FLOAT32 = "float32"
AUTOCAST = "bfloat16-autocast"
"""Weights in float32, matrix products in bfloat16."""

_PRECISIONS = (FLOAT32, AUTOCAST)
# Instruction sets for which CPU kernels differ in their last bits.
_CPU_FLAGS = frozenset({"avx2", "avx512f", "avx512_bf16", "amx_bf16"})


def resource_class_here(device: str) -> str:
    """The class of this machine's 'cpu' or 'cuda' device. Raises TrexError if there is no such device.

    Bfloat16 autocast where the hardware multiplies bfloat16, else float32: a fact, not a measurement.
    """
    if device == "cpu":
        fast = bool(cpu_flags() & {"avx512_bf16", "amx_bf16"})
        hardware = "+".join([platform.machine(), *sorted(cpu_flags())])
    else:
        name, capability = _gpu()
        fast = capability >= 8.0
        hardware = f"{'-'.join(name.replace('/', '-').split())}+{capability}"
    return f"{device}/{hardware}/{AUTOCAST if fast else FLOAT32}"


def device_of(resource_class: str) -> str:
    """'cpu' or 'cuda'. Raises InputError for a text that is no resource class."""
    device, hardware, precision = (*resource_class.split("/"), "", "", "")[:3]
    known = device in ("cpu", "cuda") and hardware and precision in _PRECISIONS
    if not known or resource_class.count("/") != 2:
        raise InputError(
            f"{resource_class!r} is no resource class: write device/hardware/precision as "
            "`trex doctor --runner NAME` prints it"
        )
    return device


def dtype_of(resource_class: str, device: str) -> str:
    """The precision of a class. Raises InputError if it is not one of that device."""
    if device_of(resource_class) != device:
        raise InputError(f"the resource class {resource_class} is not one of the device {device!r}")
    return resource_class.rpartition("/")[2]


@functools.cache
def cpu_flags() -> frozenset[str]:
    """The instruction sets of this processor that change results."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux: kernels are distinguished by the machine's name alone
        return frozenset()
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return _CPU_FLAGS & set(flags.split())


@functools.cache
def _gpu() -> tuple[str, float]:
    """Name and compute capability of the first GPU, without initialising CUDA in this process."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        raise TrexError("device 'cuda' was asked for, but nvidia-smi is not on the PATH: use device 'cpu'")
    query = [tool, "--query-gpu=name,compute_cap", "--format=csv,noheader"]
    answer = subprocess.run(query, capture_output=True, text=True, check=False, timeout=60)
    lines = answer.stdout.strip().splitlines()
    if answer.returncode != 0 or not lines:
        raise TrexError(f"nvidia-smi finds no GPU ({answer.stderr.strip() or 'no text'}): use device 'cpu'")
    name, _, capability = lines[0].rpartition(",")
    return name.strip(), float(capability)
