"""Starts workers in a tenth of a second: a process that has imported torch and TRL and forks a worker a job.

`python -m trex.training.runners.forkserver` reads one JSON line a job from stdin,
{"folder", "rung", "stop_step", "environment": {name: value}}, and answers {"pid"}. It ends when stdin does;
workers, each in a session of its own, live on. Linux only.

The server must stay single-threaded and must not run a torch operation: a fork copies neither threads nor an
initialised CUDA context.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

from ..jobs import worker
from ..jobs.trial_folder import TrialFolder


def serve() -> None:
    """Import what workers need, then fork one for every line on stdin."""
    from transformers.models.llama import modeling_llama  # noqa: F401

    from ..methods import sft_trainer as trainer  # noqa: F401  loads torch, transformers, peft, trl, datasets

    if threading.active_count() != 1:
        raise RuntimeError(f"the fork server must have one thread, it has {threading.enumerate()}")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps the workers
    gc.freeze()
    # Not `for line in sys.stdin`, which reads ahead.
    while line := sys.stdin.readline():
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _become_worker(request)
        print(json.dumps({"pid": pid}), flush=True)


def _become_worker(request: dict[str, Any]) -> None:
    """In the child: detach from the server, run the job, end."""
    status = 1
    try:
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        folder = Path(request["folder"])
        _redirect(TrialFolder(folder).log_file)
        os.environ.update(request["environment"])
        status = worker.main(folder, request["rung"], request["stop_step"])
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _redirect(log: Path) -> None:
    """Stdin from nothing, stdout and stderr to the log."""
    silence = os.open(os.devnull, os.O_RDONLY)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(silence, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(silence)
    os.close(output)


if __name__ == "__main__":
    serve()
