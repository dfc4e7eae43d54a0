"""The machine as a container sees it: limits of control groups, and file systems without locks."""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from trex.errors import InputError
from trex.files import lock, try_lock
from trex.ftbench.tasks.sentiment import load
from trex.graph.run import checkpoint_store
from trex.graph.run.directory import RunDirectory
from trex.graph.run.machine import Machine
from trex.graph.run.setup import choose_settings
from trex.training.runners import this_node
from trex.training.runners.cgroup import cpu_limit, memory_limit

GIB = 1 << 30

Files = dict[str, str]

V2: Files = {"cpu.max": "200000 100000\n", "memory.max": f"{4 * GIB}\n"}
V1: Files = {
    "cpu/cpu.cfs_quota_us": "150000\n", "cpu/cpu.cfs_period_us": "100000\n",
    "memory/memory.limit_in_bytes": f"{3 * GIB}\n",
}  # fmt: skip
V1_PROCESS = "4:memory:/docker/abc\n2:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc\n"


@pytest.mark.parametrize(
    ("process", "files", "cpus", "memory"),
    [
        pytest.param("0::/\n", V2, 2, 4 * GIB, id="version 2"),
        pytest.param("", V2, 2, 4 * GIB, id="no /proc"),
        pytest.param("0::/\n", {"cpu.max": "max 100000\n", "memory.max": "max\n"}, None, None, id="no limit"),
        pytest.param("0::/\n", {}, None, None, id="no files"),
        pytest.param("0::/a/b\n", V2, 2, 4 * GIB, id="named outside of the container"),
        pytest.param(
            "0::/a/b\n",
            {"a/b/cpu.max": "max 100000", "a/cpu.max": "50000 100000", "a/b/memory.high": "5", "memory.max": "9"},
            0.5, 5, id="the tightest of the groups around it",
        ),
        pytest.param("0::/a\n", {"b/cpu.max": "100 100", "b/memory.max": "5"}, None, None, id="another group"),
        pytest.param(V1_PROCESS, V1, 1.5, 3 * GIB, id="version 1"),
        pytest.param(
            V1_PROCESS,
            {"cpu,cpuacct/docker/abc/cpu.cfs_quota_us": "300000",
             "cpu,cpuacct/docker/abc/cpu.cfs_period_us": "100000",
             "memory/docker/abc/memory.limit_in_bytes": str(2 * GIB)},
            3, 2 * GIB, id="version 1 on the machine itself",
        ),
        pytest.param(
            V1_PROCESS,
            {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000",
             "memory/memory.limit_in_bytes": "9223372036854771712"},
            None, None, id="version 1 without a limit",
        ),
        pytest.param("0::/\n", {"cpu.max": "", "memory.max": "much"}, None, None, id="no numbers"),
    ],
)  # fmt: skip
def test_limits_of_the_control_group(
    process: str, files: Files, cpus: float | None, memory: int | None, tmp_path: Path
) -> None:
    root, own = tmp_path / "cgroup", tmp_path / "self"
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    if process:
        own.write_text(process)
    assert (cpu_limit(root, own), memory_limit(root, own)) == (cpus, memory)


@pytest.mark.parametrize(
    ("cpus", "memory", "trials", "slots", "threads", "share_mb"),
    [
        (2.0, 4 * GIB, 3, 2, 1, 1638),
        (0.5, 4 * GIB, 3, 1, 1, 3276),
        (6.0, 2 * GIB, 3, 1, 6, 1638),
        (None, None, 4, 4, 16, 52428),
    ],
)
def test_a_run_is_planned_within_the_limits(
    cpus: float | None,
    memory: int | None,
    trials: int,
    slots: int,
    threads: int,
    share_mb: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a machine of 64 cores and 256 GiB."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=256 * GIB))
    monkeypatch.setattr(this_node, "cpu_limit", lambda: cpus)
    monkeypatch.setattr(this_node, "memory_limit", lambda: memory)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    here = Machine.here()
    assert here.cores == max(1, int(cpus or 64)) and here.memory_mb == (memory or 256 * GIB) >> 20
    share = here.share(trials)
    assert (share["slots"], share["threads"], share["memory_limit_mb"]) == (slots, threads, share_mb)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_named_and_nothing_is_written(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    task, path = load(smoke=True), tmp_path / "runs" / "new"
    monkeypatch.setattr(fcntl, "flock", refuse)
    for act in (lambda: try_lock(tmp_path / "a"), lambda: lock(tmp_path / "b").__enter__()):
        with pytest.raises(InputError, match=r"no file locks .*NFS.*--out.*TREX_HOME"):
            act()
    with pytest.raises(InputError, match=r"runs/new/lock: its file system has no file locks"):
        RunDirectory.create(choose_settings("sentiment", path, smoke=True), task)
    assert not path.parent.exists()


def test_a_checkpoint_database_without_locks_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refusing(sqlite3.Connection):
        def execute(self, *_: Any) -> sqlite3.Cursor:
            error = sqlite3.OperationalError("locking protocol")
            error.sqlite_errorcode = sqlite3.SQLITE_PROTOCOL
            raise error

    true_connect = sqlite3.connect
    monkeypatch.setattr(
        checkpoint_store.sqlite3, "connect", lambda *a, **k: true_connect(*a, factory=Refusing, **k)
    )
    with pytest.raises(InputError, match=r"checkpoints\.sqlite: its file system has no file locks"):
        checkpoint_store.connect(RunDirectory(tmp_path))


def test_a_directory_that_is_being_begun_elsewhere_is_left_alone(tmp_path: Path) -> None:
    task, path = load(smoke=True), tmp_path / "new"
    held = try_lock(path / "lock")
    assert held is not None
    with held, pytest.raises(InputError, match="in use by another"):
        RunDirectory.create(choose_settings("sentiment", path, smoke=True), task)
    assert (path / "lock").exists()
