"""What a confined process sees of other processes and of the network: no keys, no UDP. As root and as another user."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.plans import training_plan
from trex import landlock
from trex.training.jobs.job import Trial

pytestmark = pytest.mark.skipif(
    not landlock.abi(), reason="this kernel has no Landlock, so nothing is confined"
)

KEY = "sk-a-key-of-the-run"
NOBODY = 65534

ATTEMPTS = """
import ctypes, json, os, socket, subprocess, sys
from pathlib import Path
from trex.training.jobs.confinement import confine
from trex.training.jobs.job import Trial

given = json.loads(sys.argv[1])
if given["user"] is not None:  # only now: the interpreter may lie where that user cannot read
    os.setgroups([]); os.setgid(given["user"]); os.setuid(given["user"])
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # dumpable, as if started by that user

def tried(action):
    try:
        return action()
    except OSError as error:
        return type(error).__name__

def seen():
    process = Path("/proc", str(given["process"]))
    return {
        "environ": tried(lambda: given["key"] in (process / "environ").read_text()),
        "environ by a program": given["key"] in subprocess.run(
            ["cat", process / "environ"], capture_output=True, text=True).stdout,
        "environ through a thread": tried(
            lambda: given["key"] in (process / "task" / process.name / "environ").read_text()),
        "memory": tried(lambda: bool((process / "mem").open("rb"))),
        "address space": tried(lambda: "/" in (process / "maps").read_text()),
        "working directory": tried(lambda: bool(os.readlink(process / "cwd"))),
    }

def opened(family, kind, protocol=0):
    return tried(lambda: bool(socket.socket(family, kind, protocol)))

def io_uring():
    libc = ctypes.CDLL(None, use_errno=True)
    handle = libc.syscall(ctypes.c_long(425), ctypes.c_uint(1), ctypes.create_string_buffer(120))
    return os.strerror(ctypes.get_errno()) if handle < 0 else "opened"

before = seen()
held = confine(Trial.model_validate(given["trial"]), Path(given["folder"]))
stream, datagram, raw = socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW
print(json.dumps({
    "held": held,
    "before": before,
    "after": seen(),
    "own": tried(lambda: bool(Path("/proc/self/environ").read_bytes())),
    "capabilities": next(l.split()[1] for l in open("/proc/self/status") if l.startswith("CapPrm")),
    "sockets": {
        "UDP": opened(socket.AF_INET, datagram),
        "UDP in a program": subprocess.run([
            "/bin/sh", "-c", "command -v bash >/dev/null || exit 1; bash -c 'echo > /dev/udp/127.0.0.1/9'"],
            capture_output=True).returncode == 0,
        "UDP over IPv6": opened(socket.AF_INET6, datagram),
        "raw": opened(socket.AF_INET, raw, socket.IPPROTO_ICMP),
        "ping": opened(socket.AF_INET, datagram, socket.IPPROTO_ICMP),
        "packet": opened(socket.AF_PACKET, raw),
        "VM": opened(40, stream),
        "MPTCP": opened(socket.AF_INET, stream, 262),
        "SCTP": opened(socket.AF_INET, stream, 132),
    },
    "io_uring": io_uring(),
    "kept": {
        "TCP": opened(socket.AF_INET, stream),
        "TCP by its number": opened(socket.AF_INET6, stream | socket.SOCK_NONBLOCK, 6),
        "Unix": opened(socket.AF_UNIX, stream),
        "a pair": tried(lambda: bool(socket.socketpair())),
        "netlink": opened(socket.AF_NETLINK, raw),
    },
}))
"""


@pytest.fixture(scope="module", params=[None, NOBODY], ids=["this user", "another user"])
def seen(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """What a confined process could do, beside a process of the same user with a key in its environment."""
    user: int | None = request.param
    if user is not None and os.geteuid() != 0:
        pytest.skip("only root can become another user")
    with tempfile.TemporaryDirectory() as name:
        trial_folder = Path(name, "run", "trials", "mine")
        (Path(name, "model")).mkdir()
        trial_folder.mkdir(parents=True)
        if user is not None:
            for path in (Path(name), *Path(name).rglob("*")):
                os.chown(path, user, user)
        trial = Trial(
            plan=training_plan(max_steps=4),
            base_model=str(Path(name, "model")),
            base_model_hash="m",
            dataset=str(Path(name, "run", "datasets", "mine")),
            dataset_fingerprint="d",
            rows=10,
            total_steps=4,
            seed=1,
            threads=1,
            environment="e",
        )
        given = {
            "user": user,
            "key": KEY,
            "trial": trial.model_dump(mode="json"),
            "folder": str(trial_folder),
        }
        with subprocess.Popen(
            ["cat"], env={"OPENAI_API_KEY": KEY}, stdin=subprocess.PIPE, user=user, group=user
        ) as other:
            done = subprocess.run(
                [sys.executable, "-c", ATTEMPTS, json.dumps(given | {"process": other.pid})],
                env=os.environ | {"TREX_HOME": str(Path(name, "home"))},
                capture_output=True,
                text=True,
            )
            other.kill()
    assert done.returncode == 0, done.stderr
    yield json.loads(done.stdout)


def test_no_key_of_another_process_is_read(seen: dict[str, Any]) -> None:
    assert seen["held"].startswith(f"Landlock ABI {landlock.abi()}")
    assert seen["before"]["environ"] is True, "without confinement it is read, so the test can fail"
    refused = {"environ", "environ through a thread", "memory", "address space", "working directory"}
    assert {name: seen["after"][name] for name in refused} == dict.fromkeys(refused, "PermissionError")
    assert seen["after"]["environ by a program"] is False
    assert seen["own"] is True


def test_of_roots_capabilities_one_is_left(seen: dict[str, Any]) -> None:
    """CAP_DAC_OVERRIDE, bit 1: files of other users where Landlock grants them."""
    assert int(seen["capabilities"], 16) in (0, 0b10)


@pytest.mark.skipif(os.uname().machine not in ("x86_64", "aarch64"), reason="no filter for this processor")
def test_udp_is_closed_and_tcp_is_left_to_landlock(seen: dict[str, Any]) -> None:
    assert "UDP open" not in seen["held"]
    program = seen["sockets"].pop("UDP in a program")
    assert set(seen["sockets"].values()) == {"PermissionError"}, seen["sockets"]
    assert program is False
    assert seen["io_uring"] == "Permission denied"
    assert set(seen["kept"].values()) == {True}, seen["kept"]
