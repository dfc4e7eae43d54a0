"""The queue that launchers of clusters share, in front of a scheduler whose answers the test gives."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Literal

import pytest
from support.jobs import job_in
from trex.training.jobs.job import Job, Resources
from trex.training.runners import cluster
from trex.training.runners.cluster import ClusterLauncher
from trex.training.runners.protocol import LauncherOptions, Node, RunnerSettings


class GivenStates:
    """A scheduler that says what the test says."""

    def __init__(self) -> None:
        self.state: Literal["waiting", "running"] = "waiting"
        self.cancelled: list[str] = []

    def nodes(self) -> Sequence[Node]:
        return []

    def submit(
        self, name: str, job: Job, arguments: Sequence[str], threads: int, resources: Resources
    ) -> None:
        return

    def states(self, names: Collection[str]) -> Mapping[str, Literal["waiting", "running"]]:
        return dict.fromkeys(names, self.state)

    def cancel(self, name: str) -> None:
        self.cancelled.append(name)


def test_a_job_that_was_put_back_into_the_queue_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1_000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    scheduler, job = GivenStates(), job_in(tmp_path)
    launcher = ClusterLauncher(
        LauncherOptions(slots=1, threads=1, settings=RunnerSettings(), command=()), scheduler
    )
    monkeypatch.setattr(scheduler, "states", lambda names: {})  # nothing of an earlier driver
    launcher.submit(job, job.trial.resources)
    monkeypatch.undo()
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def polled(state: Literal["waiting", "running"], seconds: float) -> str:
        scheduler.state = state
        now[0] += seconds
        return launcher.poll(job)

    assert polled("running", 1) == "running"
    assert polled("waiting", 10 * cluster._STALE) == "waiting"
    assert polled("running", 1) == "running" and not scheduler.cancelled
    assert polled("running", 2 * cluster._STALE) == "ended" and len(scheduler.cancelled) == 1
