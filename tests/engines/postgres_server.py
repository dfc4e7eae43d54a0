"""A PostgreSQL server in a temporary folder, from Debian's package postgresql."""

from __future__ import annotations

import atexit
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest

_place = Path()
_port = 0


def start() -> str:
    """Start the server; its address. Skips the test where it is not installed."""
    global _place, _port
    if _program("initdb") is None:
        pytest.skip("needs PostgreSQL: Debian's package postgresql")
    pytest.importorskip("langgraph.checkpoint.postgres", reason="the extra `postgres` is not installed")
    _place = Path(tempfile.mkdtemp(prefix="trex-postgres-"))
    if os.geteuid() == 0:  # the server refuses to run as root
        user = pwd.getpwnam("postgres")
        os.chown(_place, user.pw_uid, user.pw_gid)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        _port = probe.getsockname()[1]
    _run("initdb", "-D", str(_place / "data"), "-U", "trex", "-A", "trust")
    begin()
    atexit.register(_remove)
    return f"postgresql://trex@127.0.0.1:{_port}/postgres"


def begin() -> None:
    """Start the server on its folder, also again after a stop."""
    options = f"-p {_port} -h 127.0.0.1 -k {_place}"
    _run("pg_ctl", "-D", str(_place / "data"), "-o", options, "-l", str(_place / "log"), "-w", "start")


def stop(mode: str = "immediate") -> None:
    """Stop the server as a crash would; what was committed is recovered at the next start."""
    _run("pg_ctl", "-D", str(_place / "data"), "-m", mode, "-w", "stop")


def _run(name: str, *words: str) -> None:
    program = _program(name)
    assert program is not None
    user = "postgres" if os.geteuid() == 0 else None
    subprocess.run(
        [program, *words], check=True, user=user, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )


def _program(name: str) -> str | None:
    places = [str(path) for path in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    return shutil.which(name, path=os.pathsep.join([*places, os.environ["PATH"]]))


def _remove() -> None:
    subprocess.run(
        [str(_program("pg_ctl")), "-D", str(_place / "data"), "-m", "immediate", "stop"],
        user="postgres" if os.geteuid() == 0 else None,
        cwd="/",
        check=False,
        capture_output=True,
    )
    shutil.rmtree(_place, ignore_errors=True)
