"""Starts workers: by the fork server on Linux, else as new processes."""

from __future__ import annotations

import json
import os
import platform
import select
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO

import psutil

from ..jobs.confinement import REQUIRE, check_requirement
from ..jobs.job import Job, JobFailed
from ..jobs.trial_folder import TrialFolder

_PASSED_ON = frozenset(
    [
        "PATH",
        "HOME",
        "USER",
        "LOGNAME",
        "LANG",
        "TMPDIR",
        "TREX_HOME",
        "TREX_CHECKPOINT_SECONDS",
        "XDG_CACHE_HOME",
        "HF_HOME",
        "LD_LIBRARY_PATH",
        "PYTHONPATH",
        "VIRTUAL_ENV",
        REQUIRE,
    ]
)
_PASSED_ON_PREFIXES = ("LC_", "CUDA_", "NVIDIA_", "NCCL_")
_ANSWER_SECONDS = 180.0  # the first answer waits for the imports, on a busy machine


def worker_environment(threads: int) -> dict[str, str]:
    """The environment of workers: the variables they need, without API keys, `threads` threads, hub access off."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in _PASSED_ON or name.startswith(_PASSED_ON_PREFIXES)
    }
    count = str(threads)
    return kept | {
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        # The thread pools of numpy and of Arrow's allocator would make the fork server multi-threaded.
        "OPENBLAS_NUM_THREADS": "1",
        "JE_ARROW_MALLOC_CONF": "background_thread:false",
        # Threads that spin while they wait take CPU time from other jobs.
        "OMP_WAIT_POLICY": "PASSIVE",
        "GOMP_SPINCOUNT": "0",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONHASHSEED": "0",
        "PYTHONUNBUFFERED": "1",
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        # Look for GPUs without initialising CUDA, which does not work after a fork.
        "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
    }


@dataclass
class Started:
    """A worker started by this process or by its fork server. The pid is also its process group and session."""

    pid: int
    child: subprocess.Popen[bytes] | None = None
    _process: psutil.Process | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        try:
            self._process = psutil.Process(self.pid)
        except psutil.NoSuchProcess:
            self._process = None

    def alive(self) -> bool:
        """Whether it still runs. A reused pid is recognised by the creation time of the process."""
        if self.child is not None:
            return self.child.poll() is None
        try:
            return (
                self._process is not None
                and self._process.is_running()
                and self._process.status() != psutil.STATUS_ZOMBIE
            )
        except psutil.NoSuchProcess:
            return False


class Script:
    """Starts `command TRIAL_FOLDER RUNG STOP_STEP` as a new process, which calls `in_child` first."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        in_child: Callable[[], None] | None = None,
    ) -> None:
        self._command = list(command)
        self._environment = dict(environment)
        self._in_child = in_child

    def warm_up(self) -> None:
        """Nothing to prepare."""

    def launch(self, job: Job, environment: Mapping[str, str]) -> Started:
        """Start a worker; `environment` is added to its own."""
        arguments = [*self._command, str(job.folder), str(job.rung), str(job.stop_step)]
        with TrialFolder(job.folder).log_file.open("ab") as log:
            child = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment | dict(environment),
                start_new_session=True,
                preexec_fn=self._in_child,
            )
        return Started(child.pid, child)

    def close(self) -> None:
        """Nothing to release."""


class ForkServer:
    """Starts workers by `forkserver`, which is started on first use and again after it died."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = dict(environment)
        self._guard = threading.Lock()
        self._server: subprocess.Popen[bytes] | None = None
        self._errors: IO[bytes] | None = None

    def warm_up(self) -> None:
        """Start the server, without waiting for it."""
        with self._guard:
            self._running_server()

    def launch(self, job: Job, environment: Mapping[str, str]) -> Started:
        """Start a worker; `environment` is added to its own. Raises JobFailed if the server does not start."""
        request = {
            "folder": str(job.folder.absolute()),
            "rung": job.rung,
            "stop_step": job.stop_step,
            "environment": dict(environment),
        }
        with self._guard:
            for _ in range(2):
                try:
                    pid = self._ask(self._running_server(), json.dumps(request).encode() + b"\n")
                except BaseException:
                    self._end_server()  # an unread answer would be taken for the answer to the next request
                    raise
                if pid is not None:
                    return Started(pid)
                reason = self._end_server()
        raise JobFailed("crash", f"the fork server does not start: {reason}")

    def close(self) -> None:
        """End the server; workers continue."""
        with self._guard:
            self._end_server()

    def _running_server(self) -> subprocess.Popen[bytes]:
        if self._server is not None and self._server.poll() is None:
            return self._server
        self._end_server()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  closed by _end_server
        self._server = subprocess.Popen(
            [sys.executable, "-m", "trex.training.runners.forkserver"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=self._environment,
            start_new_session=True,  # Ctrl-C in the terminal must not reach it: the graph handles that
        )
        return self._server

    def _ask(self, server: subprocess.Popen[bytes], line: bytes) -> int | None:
        """The new worker's pid; None if the server died or hangs."""
        assert server.stdin is not None and server.stdout is not None
        try:
            server.stdin.write(line)
            server.stdin.flush()
        except BrokenPipeError:
            return None
        readable, _, _ = select.select([server.stdout], [], [], _ANSWER_SECONDS)
        answer = server.stdout.readline() if readable else b""
        return int(json.loads(answer)["pid"]) if answer.endswith(b"\n") else None

    def _end_server(self) -> str:
        """End the server if it runs; returns the last line of its stderr."""
        last_line = "no message on stderr"
        if self._server is not None:
            for pipe in (self._server.stdin, self._server.stdout):
                with suppress(BrokenPipeError):  # the other end may be closed; unsent bytes are lost
                    if pipe is not None:
                        pipe.close()
            self._server.kill()
            self._server.wait()
            self._server = None
        if self._errors is not None:
            self._errors.seek(0)
            lines = self._errors.read().decode(errors="replace").strip().splitlines()
            last_line = lines[-1] if lines else last_line
            self._errors.close()
            self._errors = None
        return last_line


def default_starter(threads: int, command: Sequence[str] | None) -> Script | ForkServer:
    """Starts `command` if given; else the fork server on Linux, and a new Python on other systems.

    A fork is not safe on macOS. Raises TrexError if confinement is required and this kernel does not support it.
    """
    check_requirement()
    environment = worker_environment(threads)
    if command is not None:
        return Script(command, environment)
    if platform.system() == "Linux":
        return ForkServer(environment)
    return Script([sys.executable, "-m", "trex.training.jobs.worker"], environment)
