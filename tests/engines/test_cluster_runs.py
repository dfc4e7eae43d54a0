"""Runs on real schedulers: the same tree as on one machine, and nothing lost or run twice when something is killed."""

from __future__ import annotations

import os
import time
from pathlib import Path

import psutil
import pytest
from support.jobs import job_in, quiet
from support.kill import kill, launch, run_with_kills, tree_of
from support.launchers import FAKE, local_runner
from support.places import SUPPORT
from support.torch_free import RUNNER
from trex.files import read_json
from trex.training.jobs.job import Job
from trex.training.jobs.job_store import JobStore
from trex.training.jobs.trial_folder import TrialFolder
from trex.training.runners import LAUNCHERS
from trex.training.runners.cluster import job_name
from trex.training.runners.job_runner import JobRunner
from trex.training.runners.protocol import LauncherOptions, settings_class

from engines import engine_settings, ray_nodes, slurm_nodes

KILLS = int(os.environ.get("TREX_TEST_KILLS") or 20)
TORCH_FREE = str(SUPPORT / "torch_free.py")
clusters = pytest.mark.parametrize("name", ["ray", "slurm"])
launchers = pytest.mark.parametrize("name", ["local", "ray", "slurm"])


def use(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the runs of this test train there."""
    settings = ",".join(f"{key}={value}" for key, value in engine_settings(name).items())
    monkeypatch.setenv(RUNNER, f"{name}:{settings}")


def commands(run: Path) -> tuple[list[str], list[str]]:
    return [TORCH_FREE, "run", str(run)], [TORCH_FREE, "resume", str(run)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on this machine that nothing disturbs."""
    engine_settings("ray")  # skips where no engine is asked for
    folder = tmp_path_factory.mktemp("undisturbed")
    process = launch(commands(folder / "run")[0], folder / "home", folder / "log")
    assert process.wait(timeout=240) == 0, (folder / "log").read_text()
    return folder / "run"


@clusters
def test_the_tree_is_that_of_one_machine(
    name: str, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(name, monkeypatch)
    process = launch(commands(tmp_path / "run")[0], tmp_path / "home", tmp_path / "log")
    assert process.wait(timeout=400) == 0, (tmp_path / "log").read_text()
    assert tree_of(tmp_path / "run") == tree_of(undisturbed)


@launchers
def test_everything_killed_at_random_moments(
    name: str, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Driver, grader, node process and worker at once; the scheduler and its nodes stay."""
    use(name, monkeypatch)
    wanted = max(1, KILLS // 4) if name == "slurm" else KILLS
    longest = 3 * read_json(undisturbed / "clock.json")["active_seconds"]
    made = 0
    for attempt in range(wanted):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        run = folder / "run"
        made += run_with_kills(*commands(run), run, folder / "home", wanted - made, longest, seed=attempt)
        assert tree_of(run) == tree_of(undisturbed)
        if made >= wanted:
            return
    assert made >= wanted


def cluster_runner(name: str, step_seconds: float = 0.1) -> JobRunner:
    launcher = LAUNCHERS.load(name)
    settings = settings_class(launcher).model_validate(engine_settings(name))
    command = (*FAKE, "--step-seconds", str(step_seconds))
    return JobRunner(
        launcher(LauncherOptions(slots=2, threads=1, settings=settings, command=command)), JobStore()
    )


class Begun:
    """A job in a thread of its own."""

    def __init__(self, runner: JobRunner, job: Job) -> None:
        from concurrent.futures import ThreadPoolExecutor

        self.job, self.folder = job, TrialFolder(job.folder)
        self._future = ThreadPoolExecutor(1).submit(runner.run, job, None, quiet)

    def at_step(self, step: int) -> psutil.Process:
        """Wait until the worker is at a step; the worker."""
        end = time.monotonic() + 90
        while time.monotonic() < end and not self._future.done():
            status = self.folder.read_status()
            if status is not None and status.state == "training" and status.step >= step:
                return psutil.Process(status.pid)
            time.sleep(0.05)
        raise AssertionError(f"the job is not at step {step}: {self._future.exception(0)}")

    def attempts(self) -> int:
        """Wait for the result; how often a worker was started for it."""
        return self._future.result(timeout=240).attempts


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The adapter's hash of a job that nothing disturbs."""
    return local_runner().run(job_in(tmp_path_factory.mktemp("w"), steps=60), None, quiet).adapter_hash


def adapter_hash(job: Job) -> str:
    result = TrialFolder(job.folder).read_result(job)
    assert result is not None
    return result.adapter_hash


@clusters
@pytest.mark.parametrize("victim", ["worker", "node process"])
def test_a_killed_worker_goes_on_from_its_checkpoint(
    name: str, victim: str, tmp_path: Path, weights: str
) -> None:
    begun = Begun(cluster_runner(name), job_in(tmp_path, steps=60))
    worker = begun.at_step(20)
    kill([worker if victim == "worker" else worker.parent() or worker])
    assert begun.attempts() == 2 and adapter_hash(begun.job) == weights


@clusters
def test_two_drivers_submit_the_same_job(name: str, tmp_path: Path, weights: str) -> None:
    job = job_in(tmp_path, steps=60)
    first, second = Begun(cluster_runner(name), job), Begun(cluster_runner(name), job)
    assert first.attempts() == second.attempts() == 1
    assert adapter_hash(job) == weights


def test_ray_loses_a_node(tmp_path: Path, weights: str) -> None:
    runner = cluster_runner("ray", step_seconds=0.25)
    lost = ray_nodes.nodes()
    begun = Begun(runner, job_in(tmp_path, steps=60))
    worker = begun.at_step(20)
    [node] = [each for each in lost if ray_nodes.runs_on(each, worker)]
    ray_nodes.lose_node(node)
    ray_nodes.add_node()
    assert begun.attempts() == 2 and adapter_hash(begun.job) == weights


def test_slurm_loses_a_node(tmp_path: Path, weights: str) -> None:
    """The node's daemon is killed and the node is set down: Slurm queues the job again."""
    begun = Begun(cluster_runner("slurm", step_seconds=0.25), job_in(tmp_path, steps=60))
    worker = begun.at_step(20)
    node = slurm_nodes.node_of(job_name(begun.job))
    slurm_nodes.kill_daemon(node)
    kill([worker.parent() or worker, worker])
    slurm_nodes.control("update", f"nodename={node}", "state=down", "reason=test")
    try:
        assert begun.attempts() == 2 and adapter_hash(begun.job) == weights
    finally:
        slurm_nodes.start_node(node)
        slurm_nodes.control("update", f"nodename={node}", "state=resume")


def test_slurm_loses_its_controller(tmp_path: Path, weights: str) -> None:
    """Jobs go on without it, and nothing is submitted until it is back."""
    begun = Begun(cluster_runner("slurm"), job_in(tmp_path, steps=60))
    begun.at_step(10)
    slurm_nodes.kill_daemon("slurmctld")
    time.sleep(8)
    slurm_nodes.start_controller()
    assert begun.attempts() == 1 and adapter_hash(begun.job) == weights


def test_slurm_ends_a_job_at_its_time_limit(tmp_path: Path, weights: str) -> None:
    begun = Begun(cluster_runner("slurm", step_seconds=0.25), job_in(tmp_path, steps=60))
    begun.at_step(20)
    slurm_nodes.time_out(job_name(begun.job))
    assert begun.attempts() == 2 and adapter_hash(begun.job) == weights


def test_slurm_refuses_a_partition_that_is_not_there(tmp_path: Path) -> None:
    from trex.training.jobs.job import JobFailed
    from trex.training.runners.slurm_cluster import SlurmLauncher, SlurmSettings

    engine_settings("slurm")
    launcher = SlurmLauncher(LauncherOptions(slots=1, threads=1, settings=SlurmSettings(partition="none")))
    with pytest.raises(JobFailed, match=r"Slurm refuses the job: .*invalid partition"):
        JobRunner(launcher, JobStore()).run(job_in(tmp_path), None, quiet)
