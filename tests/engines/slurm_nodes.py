"""A Slurm cluster of one controller and two nodes with two CPUs each, as processes of this machine.

From Debian's packages slurm-wlm and munge; no service of the machine is used or changed.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

NODES = ("node1", "node2")
_PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")
_CONFIGURATION = """
ClusterName=trex
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={place}/munge.socket
StateSaveLocation={place}/state
SlurmctldPidFile={place}/slurmctld.pid
SlurmdPidFile={place}/%n.pid
SlurmdSpoolDir={place}/spool.%n
SlurmctldLogFile={place}/slurmctld.log
SlurmdLogFile={place}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
SlurmdTimeout=10
KillWait=2
MinJobAge=10
MpiDefault=none
SwitchType=switch/none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
NodeName=node[1-2] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{first}-{last}] CPUs=2 RealMemory=8000
PartitionName=main Nodes=node[1-2] Default=YES MaxTime=INFINITE State=UP
"""
_place = Path()


def start() -> dict[str, object]:
    """Start the cluster; skips the test where it is not installed, or this user is not root."""
    global _place
    missing = [name for name in _PROGRAMS if _program(name) is None]
    if missing or os.geteuid() != 0:
        pytest.skip(f"needs root and Debian's slurm-wlm and munge (missing: {', '.join(missing) or 'root'})")
    pytest.importorskip("submitit", reason="submitit is not installed: the extra `slurm`")
    _place = Path(tempfile.mkdtemp(prefix="trex-slurm-"))
    _place.chmod(0o755)
    (_place / "state").mkdir()
    port = _free_port()
    text = _CONFIGURATION.format(
        host=socket.gethostname().partition(".")[0],
        user="root",
        place=_place,
        port=port,
        first=port + 1,
        last=port + 2,
    )
    (_place / "slurm.conf").write_text(text)
    key = _place / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    os.environ["SLURM_CONF"] = str(_place / "slurm.conf")
    atexit.register(_stop)
    files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    _daemon("munged", "--force", *(f"--{option}={_place}/munge.{name}" for option, name in files.items()))
    start_controller()
    for node in NODES:
        start_node(node)
    _wait_for_nodes()
    return {}


def start_controller() -> None:
    """Start slurmctld, also again after it was killed."""
    _daemon("slurmctld")


def start_node(node: str) -> None:
    """Start a node's slurmd."""
    _daemon("slurmd", "-N", node)


def kill_daemon(name: str) -> None:
    """SIGKILL to `slurmctld` or a node's slurmd; the jobs of a node go on without it."""
    pid = int((_place / f"{name}.pid").read_text())
    os.kill(pid, signal.SIGKILL)


def node_of(job: str) -> str:
    """The node where a job runs."""
    return _queue(job, "%N")


def time_out(job: str) -> None:
    """Signal a job as Slurm does before the time limit, and kill it as Slurm does at the limit."""
    number = _queue(job, "%i")
    subprocess.run(["scancel", "--signal=USR2", number], check=True)
    time.sleep(1)
    subprocess.run(["scancel", "--signal=KILL", "--full", number], check=False)


def _queue(job: str, column: str) -> str:
    command = ["squeue", "--noheader", f"--name={job}", f"--format={column}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def control(*words: str) -> str:
    """Run scontrol."""
    return subprocess.run(["scontrol", *words], capture_output=True, text=True, check=False).stdout


def _wait_for_nodes() -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        states = subprocess.run(
            ["sinfo", "-N", "-h", "-o", "%t"], capture_output=True, text=True, check=False
        )
        if states.stdout.split() == ["idle", "idle"]:
            return
        time.sleep(0.5)
    raise RuntimeError((_place / "slurmctld.log").read_text()[-3000:])


def _daemon(name: str, *words: str) -> None:
    program = _program(name)
    assert program is not None
    subprocess.run([program, *words], check=True, stdin=subprocess.DEVNULL)


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


def _free_port() -> int:
    """The first of three ports in a row, most probably free."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _stop() -> None:
    subprocess.run(["scancel", "--user=root"], check=False, capture_output=True)
    for name in (*NODES, "slurmctld", "munge"):
        try:
            os.kill(int((_place / f"{name}.pid").read_text()), signal.SIGTERM)
        except (OSError, ValueError):
            continue
    time.sleep(1)
    shutil.rmtree(_place, ignore_errors=True)
