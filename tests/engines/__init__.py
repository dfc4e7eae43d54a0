"""Real engines for tests: a Ray cluster, a Slurm cluster, a PostgreSQL server, on this machine.

Started once a process when a test first needs one, ended with the process. `make test-engines` sets
TREX_TEST_ENGINES=1; without it their tests are skipped.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from engines import ray_nodes, slurm_nodes

_STARTERS: dict[str, Callable[[], dict[str, object]]] = {
    "ray": ray_nodes.start,
    "slurm": slurm_nodes.start,
}
_RUNNING: dict[str, dict[str, object]] = {}


def engine_settings(launcher: str) -> dict[str, object]:
    """The settings of a launcher that reach its engine, which is started if need be. Skips the test without one."""
    if launcher not in _STARTERS:
        return {}
    require(launcher)
    if launcher not in _RUNNING:
        _RUNNING[launcher] = _STARTERS[launcher]()
    return _RUNNING[launcher]


def require(engine: str) -> None:
    """Skip the test unless real engines are asked for."""
    if os.environ.get("TREX_TEST_ENGINES", "") in ("", "0"):
        pytest.skip(f"needs a running {engine}: `make test-engines`")
