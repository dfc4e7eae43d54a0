"""The ten tasks of FT-Bench, in the order of the paper's table, and how they are found by name."""

from __future__ import annotations

import re
from importlib import import_module

from ..errors import InputError
from .benchmark import Benchmark

TEN = ("aci", "tomg", "omebench", "hoc", "csbench", "openfindata", "sst2", "econlogicqa", "gta", "lawbench")


def benchmark(name: str) -> Benchmark:
    """The benchmark of that name, however it is spelt: 'csbench', 'CS-Bench', 'cs_bench'.

    Raises InputError with the names there are.
    """
    wanted = _plain(name)
    for known in TEN:
        if wanted in (known, known.removesuffix("bench"), f"{known}bench"):
            found: Benchmark = import_module(f".tasks.{known}", __package__).BENCHMARK
            return found
    raise InputError(f"FT-Bench has no task {name!r}; it has: {', '.join(TEN)}")


def subtask(of: Benchmark, name: str) -> str:
    """The benchmark's own spelling of a subtask's name. Raises InputError with the names there are."""
    for known in of.subtasks:
        if _plain(known) == _plain(name):
            return known
    there_are = f"it has: {', '.join(of.subtasks)}" if of.subtasks else "it has none"
    raise InputError(f"{of.title} has no subtask {name!r}; {there_are}")


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.casefold())
