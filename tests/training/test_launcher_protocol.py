"""Every registered launcher keeps the protocol; a launcher of another package is run through the same tests."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from engines import engine_settings
from support.jobs import job_in, quiet
from support.launchers import FAKE
from support.outside_package import write_package
from trex.errors import InputError
from trex.training.jobs.checkpoints import newest_sealed
from trex.training.jobs.job import Job, JobFailed
from trex.training.jobs.job_store import JobStore
from trex.training.jobs.trial_folder import Failure, TrialFolder
from trex.training.runners import LAUNCHERS
from trex.training.runners.job_runner import JobRunner
from trex.training.runners.protocol import Launcher, LauncherOptions, RunnerSettings, settings_class

each_launcher = pytest.mark.parametrize("name", LAUNCHERS.names())
WAIT_SECONDS = 60


def open_launcher(name: str, *options: str, slots: int = 2) -> Launcher:
    """The launcher with the torch-free worker; `options` are the worker's."""
    launcher = LAUNCHERS.load(name)
    settings = settings_class(launcher).model_validate(engine_settings(name))
    return launcher(LauncherOptions(slots=slots, threads=1, settings=settings, command=(*FAKE, *options)))


def planned(job: Job) -> Job:
    TrialFolder(job.folder).write_plan(job.trial)
    return job


def states(launcher: Launcher, job: Job, until_step: int | None = None) -> Iterator[str]:
    """Poll until the job has ended, or until it is at a step."""
    end = time.monotonic() + WAIT_SECONDS
    while (state := launcher.poll(job)) != "ended":
        yield state
        status = TrialFolder(job.folder).read_status()
        if until_step is not None and status is not None and status.step >= until_step:
            return
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


@each_launcher
def test_a_job_that_is_submitted_twice_is_one_job(name: str, tmp_path: Path) -> None:
    launcher, job = open_launcher(name), planned(job_in(tmp_path))
    launcher.start()
    handle = launcher.submit(job, job.trial.resources)
    assert handle and launcher.submit(job, job.trial.resources) == handle
    assert set(states(launcher, job)) <= {"waiting", "running"}
    assert launcher.poll(job) == "ended"
    assert TrialFolder(job.folder).read_result(job) is not None
    assert TrialFolder(job.folder).attempts(0) == 1
    launcher.close()


@each_launcher
def test_a_launcher_names_its_nodes_and_its_settings(name: str) -> None:
    launcher = open_launcher(name)
    nodes = launcher.devices()
    assert nodes and all(node.cpus >= 1 and node.memory_mb > 0 for node in nodes)
    assert issubclass(settings_class(LAUNCHERS.load(name)), RunnerSettings)
    launcher.close()


@each_launcher
def test_a_running_job_is_attached_to(name: str, tmp_path: Path) -> None:
    job = planned(job_in(tmp_path, steps=60))
    first, second = open_launcher(name, "--step-seconds", "0.05"), open_launcher(name)
    first.submit(job, job.trial.resources)
    assert list(states(first, job, until_step=3))[-1] == "running"
    first.close()
    second.submit(job, job.trial.resources)
    assert "running" in set(states(second, job))
    result = TrialFolder(job.folder).read_result(job)
    assert result is not None and result.attempts == 1
    second.close()


@each_launcher
def test_a_job_waits_for_a_slot(name: str, tmp_path: Path) -> None:
    launcher = open_launcher(name, "--step-seconds", "0.05", slots=1)
    first, second = planned(job_in(tmp_path)), planned(job_in(tmp_path, seed=2))
    launcher.submit(first, first.trial.resources)
    list(states(launcher, first, until_step=1))
    launcher.submit(second, second.trial.resources)
    assert launcher.poll(second) == "waiting"
    list(states(launcher, first))
    list(states(launcher, second))
    assert TrialFolder(second.folder).read_result(second) is not None
    launcher.close()


@each_launcher
def test_a_cancelled_job_ends_and_can_go_on(name: str, tmp_path: Path) -> None:
    launcher, job = open_launcher(name, "--step-seconds", "0.05"), planned(job_in(tmp_path))
    launcher.submit(job, job.trial.resources)
    list(states(launcher, job, until_step=6))
    TrialFolder(job.folder).write_cause(Failure.of(0, "cancelled", "cancelled"))
    launcher.cancel(job)
    assert not TrialFolder(job.folder).locked()
    assert launcher.poll(job) == "ended"
    assert (newest_sealed(job.folder, at_most=30) or 0) >= 5
    launcher.submit(job, job.trial.resources)
    list(states(launcher, job))
    result = TrialFolder(job.folder).read_result(job)
    assert result is not None and result.attempts == 2
    launcher.cancel(job)
    assert TrialFolder(job.folder).read_result(job) == result
    launcher.close()


@each_launcher
def test_a_job_that_waits_can_be_cancelled(name: str, tmp_path: Path) -> None:
    launcher = open_launcher(name, "--step-seconds", "0.05", slots=1)
    first, second, third = (planned(job_in(tmp_path, seed=seed)) for seed in (1, 2, 3))
    launcher.submit(first, first.trial.resources)
    list(states(launcher, first, until_step=1))
    launcher.submit(second, second.trial.resources)
    launcher.submit(third, third.trial.resources)
    launcher.cancel(second)
    assert launcher.poll(second) == "ended"
    for job in (first, third):
        list(states(launcher, job))
        assert TrialFolder(job.folder).read_result(job) is not None
    assert TrialFolder(second.folder).attempts(0) == 0
    launcher.close()


@each_launcher
@pytest.mark.parametrize(
    ("misbehave", "limits", "cause"),
    [
        ("nan", {}, "nan_loss"),
        ("hoard", {"memory_mb": 400.0}, "out_of_memory"),
        ("", {"seconds": 5.0}, "timeout"),
    ],
)
def test_a_failure_has_a_cause(
    name: str, tmp_path: Path, misbehave: str, limits: dict[str, float], cause: str
) -> None:
    job = job_in(tmp_path, steps=400, **limits)
    launcher = open_launcher(name, "--step-seconds", "0.1", "--misbehave", misbehave)
    with pytest.raises(JobFailed) as failed:
        JobRunner(launcher, JobStore()).run(job, None, quiet)
    assert failed.value.cause == cause
    assert not TrialFolder(job.folder).locked()
    launcher.close()


@each_launcher
def test_logs_hold_what_the_worker_printed(name: str, tmp_path: Path) -> None:
    launcher, job = open_launcher(name, "--misbehave", "nan"), planned(job_in(tmp_path))
    assert launcher.logs(job) == ""
    launcher.submit(job, job.trial.resources)
    list(states(launcher, job))
    assert "the loss is nan at step 3" in launcher.logs(job)
    launcher.close()


def test_an_unknown_launcher_is_one_clear_line() -> None:
    with pytest.raises(InputError, match="no launcher 'kubernetes'; there are: local"):
        LAUNCHERS.load("kubernetes")


TOY = """
import subprocess
import time

from trex.training.jobs.trial_folder import Failure, TrialFolder
from trex.training.runners.this_node import this_node


class Toy:
    def __init__(self, options):
        self.options, self.queue, self.running, self.limits = options, [], {}, {}

    def start(self):
        pass

    def devices(self):
        return [this_node()]

    def submit(self, job, resources):
        self.limits[job.folder] = resources
        if not TrialFolder(job.folder).locked() and job not in self.queue and job.folder not in self.running:
            self.queue.append(job)
        return str(job.folder)

    def poll(self, job):
        self._begin()
        if job in self.queue:
            return "waiting"
        process, begun = self.running.get(job.folder, (None, 0.0))
        folder = TrialFolder(job.folder)
        if process is None or process.poll() is not None:
            self.running.pop(job.folder, None)
            return "running" if folder.locked() else "ended"
        for cause, broken in (("timeout", self._late(job, begun)), ("out_of_memory", self._large(job, process))):
            if broken:
                folder.write_cause(Failure.of(job.rung, cause, cause))
                self.cancel(job)
        return "running"

    def logs(self, job):
        log = TrialFolder(job.folder).log_file
        return log.read_text() if log.exists() else ""

    def cancel(self, job):
        if job in self.queue:
            self.queue.remove(job)
        if job.folder in self.running:
            self.running[job.folder][0].kill()
            self.running[job.folder][0].wait()

    def close(self):
        pass

    def _begin(self):
        self.running = {folder: each for folder, each in self.running.items() if each[0].poll() is None}
        while self.queue and len(self.running) < self.options.slots:
            job = self.queue.pop(0)
            log = TrialFolder(job.folder).log_file.open("ab")
            command = [*self.options.command, str(job.folder), str(job.rung), str(job.stop_step)]
            process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
            self.running[job.folder] = process, time.monotonic()

    def _late(self, job, begun):
        limit = self.limits[job.folder].seconds
        return limit is not None and time.monotonic() - begun > limit

    def _large(self, job, process):
        import psutil

        limit = self.limits[job.folder].memory_mb
        return limit is not None and psutil.Process(process.pid).memory_info().rss > limit * 2**20
"""


def test_a_launcher_of_another_package_passes_the_same_tests(tmp_path: Path) -> None:
    package = write_package(
        tmp_path / "site", "toy_launcher", TOY, {"trex.runners": "toy = toy_launcher:Toy"}
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "toy", __file__]
    done = subprocess.run(
        command,
        cwd=Path(__file__).parents[2],
        env=os.environ | {"PYTHONPATH": str(package)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and "10 passed" in done.stdout, done.stdout
