"""Launchers for tests, with a worker that needs no torch."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from trex.training.jobs.job_store import JobStore
from trex.training.runners.job_runner import JobRunner
from trex.training.runners.local import LocalLauncher
from trex.training.runners.protocol import LauncherOptions

from support.places import SUPPORT

FAKE = [sys.executable, str(SUPPORT / "fake_worker.py")]


def local_runner(
    slots: int = 1,
    command: Sequence[str] | None = tuple(FAKE),
    reuse: Path | None = None,
    stale_s: float = 90.0,
) -> JobRunner:
    """Runs jobs on this machine, one thread each; without a command by the fork server."""
    options = LauncherOptions(
        slots=slots,
        threads=1,
        command=None if command is None else tuple(command),
    )
    return JobRunner(LocalLauncher(options, stale_s), JobStore(reuse))
