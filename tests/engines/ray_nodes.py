"""A Ray cluster of a head without CPUs and two nodes with two CPUs each, as processes of this machine."""

from __future__ import annotations

import atexit
import os
from typing import Any

import psutil
import pytest

_cluster: Any = None


def start() -> dict[str, object]:
    """Start the cluster; the settings of the launcher that reach it. Skips the test where Ray is not installed."""
    global _cluster
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_memory_monitor_refresh_ms": "0"}
    cluster_utils = pytest.importorskip("ray.cluster_utils", reason="Ray is not installed: the extra `ray`")
    _cluster = cluster_utils.Cluster(initialize_head=True, head_node_args=_node(0))
    atexit.register(_stop)
    for _ in range(2):
        add_node()
    return {"address": _cluster.address}


def add_node(cpus: int = 2) -> Any:
    """Another node of the running cluster."""
    return _cluster.add_node(**_node(cpus))


def nodes() -> list[Any]:
    """The nodes of the cluster that take jobs."""
    return list(_cluster.worker_nodes)


def runs_on(node: Any, process: psutil.Process) -> bool:
    """Whether a process descends from a node's raylet."""
    raylets = [info.process.pid for info in node.all_processes.get("raylet", [])]
    return any(parent.pid in raylets for parent in process.parents())


def lose_node(node: Any) -> None:
    """Kill a node with all that runs on it."""
    _cluster.remove_node(node, allow_graceful=False)


def _node(cpus: int) -> dict[str, Any]:
    return {"num_cpus": cpus, "include_dashboard": False, "object_store_memory": 100_000_000}


def _stop() -> None:
    import ray

    ray.shutdown()
    _cluster.shutdown()
