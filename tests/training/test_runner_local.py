"""The local runner with a torch-free worker: attaching, killing, limits, cancelling, reuse."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from support.jobs import job_in, quiet
from support.launchers import FAKE, local_runner
from support.places import SUPPORT
from trex.errors import IntegrityError
from trex.training.jobs.job import Job, JobFailed, JobResult, JobStatus
from trex.training.jobs.trial_folder import Failure, TrialFolder
from trex.training.jobs.worker_session import LOCK_TAKEN
from trex.training.runners import job_runner
from trex.training.runners.worker_watch import WorkerWatch

Progress = Callable[[JobStatus], None]


def weights(job: Job) -> str:
    return str(json.loads((job.folder / "adapter" / "adapter.json").read_text())["state"])


def start_by_hand(job: Job, *options: str) -> subprocess.Popen[bytes]:
    TrialFolder(job.folder).write_plan(job.trial)
    return subprocess.Popen(
        [*FAKE, *options, str(job.folder), str(job.rung), str(job.stop_step)], start_new_session=True
    )


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.01)


def at_step(job: Job, step: int) -> Callable[[], bool]:
    def reached() -> bool:
        status = TrialFolder(job.folder).read_status()
        return status is not None and status.step >= step

    return reached


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> str:
    job = job_in(tmp_path_factory.mktemp("undisturbed"))
    local_runner(command=FAKE).run(job, None, quiet)
    return weights(job)


def test_a_job_runs_once_and_answers_again_from_disk(tmp_path: Path, undisturbed: str) -> None:
    job, seen = job_in(tmp_path), list[JobStatus]()
    runner = local_runner(command=[*FAKE, "--step-seconds", "0.02"])
    result = runner.run(job, None, seen.append)
    assert (result.step, result.attempts, result.reused) == (30, 1, False)
    assert len({status.step for status in seen}) > 1 and seen[-1].state == "done"
    assert runner.run(job, None, quiet) == result
    assert TrialFolder(job.folder).attempts(0) == 1
    assert weights(job) == undisturbed
    assert not (job.folder / "adapter").readlink().is_absolute()


def test_a_damaged_result_is_made_again(tmp_path: Path, undisturbed: str) -> None:
    job, runner = job_in(tmp_path), local_runner(command=FAKE)
    runner.run(job, None, quiet)
    (job.folder / "adapter" / "adapter.json").write_text("{}")
    assert runner.run(job, None, quiet).attempts == 2
    assert weights(job) == undisturbed


def test_rungs_go_on_from_the_checkpoint(tmp_path: Path, undisturbed: str) -> None:
    runner = local_runner(command=FAKE)
    runner.run(job_in(tmp_path, stop_step=12), None, quiet)
    assert runner.run(job_in(tmp_path, rung=1), None, quiet).attempts == 1
    assert weights(job_in(tmp_path)) == undisturbed


def test_it_attaches_to_a_running_worker(tmp_path: Path) -> None:
    job, seen = job_in(tmp_path, steps=60), list[JobStatus]()
    child = start_by_hand(job, "--step-seconds", "0.02")
    wait_for(at_step(job, 3))
    result = local_runner(command=FAKE).run(job, None, seen.append)
    child.wait()
    assert (result.attempts, TrialFolder(job.folder).attempts(0)) == (1, 1)
    assert seen


def test_a_second_worker_leaves_at_once(tmp_path: Path) -> None:
    job = job_in(tmp_path, steps=400)
    first = start_by_hand(job)
    wait_for(at_step(job, 1))
    assert start_by_hand(job).wait() == LOCK_TAKEN
    first.kill()
    first.wait()
    assert TrialFolder(job.folder).attempts(0) == 1


def test_asking_whether_it_is_locked_does_not_turn_a_worker_away(tmp_path: Path) -> None:
    job = job_in(tmp_path)
    child = start_by_hand(job)
    folder = TrialFolder(job.folder)
    while child.poll() is None:
        folder.locked()
    assert child.returncode == 0


def test_two_runners_share_one_worker(tmp_path: Path) -> None:
    job, results = job_in(tmp_path, steps=60), list[JobResult]()

    def run() -> None:
        runner = local_runner(command=[*FAKE, "--step-seconds", "0.01"])
        results.append(runner.run(job, None, quiet))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results[0] == results[1] and results[0].attempts == 1


def test_a_worker_killed_at_random_moments_ends_with_the_same_weights(
    tmp_path: Path, undisturbed: str
) -> None:
    job, chance = job_in(tmp_path), random.Random(7)
    folder, killed, ended = TrialFolder(job.folder), 0, threading.Event()

    def kill_now_and_then() -> None:
        nonlocal killed
        while killed < 5 and not ended.wait(chance.uniform(0.1, 0.5)):
            status = folder.read_status()
            if status is not None and folder.locked() and psutil.pid_exists(status.pid):
                os.kill(status.pid, signal.SIGKILL)
                killed += 1

    killer = threading.Thread(target=kill_now_and_then)
    killer.start()
    result = local_runner(command=[*FAKE, "--step-seconds", "0.03"]).run(job, None, quiet)
    ended.set()
    killer.join()
    assert killed > 1
    assert weights(job) == undisturbed
    assert result.attempts == folder.attempts(0) == killed + 1


def test_a_killed_runner_leaves_its_job_to_the_next(tmp_path: Path) -> None:
    job = job_in(tmp_path, steps=60)
    script = (
        f"import sys; sys.path.insert(0, {str(SUPPORT.parent)!r})\n"
        "from trex.training.jobs.job import Job; from support.launchers import local_runner\n"
        f"runner = local_runner(command={[*FAKE, '--step-seconds', '0.03']!r})\n"
        "runner.run(Job.model_validate_json(sys.argv[1]), None, lambda status: None)"
    )
    graph = subprocess.Popen([sys.executable, "-c", script, job.model_dump_json()])
    wait_for(at_step(job, 3))
    graph.kill()
    graph.wait()
    assert TrialFolder(job.folder).locked()
    assert local_runner(command=FAKE).run(job, None, quiet).attempts == 1


def test_a_worker_that_always_dies_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_runner, "_DEATHS_WITHOUT_PROGRESS", 2)
    job = job_in(tmp_path)
    runner = local_runner(command=[*FAKE, "--misbehave", "die"])
    with pytest.raises(JobFailed, match="died 3 times in a row") as failed:
        runner.run(job, None, quiet)
    assert failed.value.cause == "crash"


def test_a_stopped_worker_is_replaced(tmp_path: Path, undisturbed: str) -> None:
    job = job_in(tmp_path)
    runner = local_runner(command=[*FAKE, "--misbehave", "stop"], stale_s=3)
    assert runner.run(job, None, quiet).attempts == 2
    assert weights(job) == undisturbed


@pytest.mark.parametrize(
    ("behaviour", "limits", "cause"),
    [
        ("nan", {}, "nan_loss"),
        ("hoard", {"memory_mb": 400.0}, "out_of_memory"),
        ("", {"seconds": 5.0}, "timeout"),
    ],
)
def test_a_lasting_failure_is_the_answer_to_every_submission(
    tmp_path: Path, behaviour: str, limits: dict[str, float], cause: str
) -> None:
    job = job_in(tmp_path, steps=200, **limits)
    command = [*FAKE, "--step-seconds", "0.05", "--misbehave", behaviour]
    for _ in range(2):
        with pytest.raises(JobFailed) as failed:
            local_runner(command=command).run(job, None, quiet)
        assert failed.value.cause == cause and "\n" not in failed.value.message
    assert TrialFolder(job.folder).attempts(0) == 1
    assert not TrialFolder(job.folder).locked()


def test_a_full_disk_is_tried_again(tmp_path: Path, undisturbed: str) -> None:
    job, runner = job_in(tmp_path), local_runner(command=[*FAKE, "--misbehave", "disk"])
    with pytest.raises(JobFailed) as failed:
        runner.run(job, None, quiet)
    assert failed.value.cause == "disk_full"
    assert runner.run(job, None, quiet).attempts == 2
    assert weights(job) == undisturbed


def test_the_end_of_the_runs_time_is_not_the_trials_fault(tmp_path: Path, undisturbed: str) -> None:
    job = job_in(tmp_path)
    runner = local_runner(command=[*FAKE, "--step-seconds", "0.1"])
    with pytest.raises(JobFailed) as failed:
        runner.run(job, time.time() + 1.5, quiet)
    assert failed.value.cause == "timeout" and not TrialFolder(job.folder).locked()
    with pytest.raises(JobFailed, match="before the job started"):
        runner.run(job, time.time() - 1, quiet)
    local_runner(command=FAKE).run(job, None, quiet)
    assert weights(job) == undisturbed


def test_a_cause_written_before_a_crash_of_the_runner_is_carried_out(tmp_path: Path) -> None:
    job = job_in(tmp_path, steps=4000)
    child = start_by_hand(job)
    wait_for(at_step(job, 1))
    cause = Failure.of(0, "out_of_memory", "the job used 9 MB, the limit is 1 MB")
    TrialFolder(job.folder).cause_file.write_text(cause.model_dump_json())
    with pytest.raises(JobFailed) as failed:
        local_runner(command=FAKE).run(job, None, quiet)
    assert failed.value.cause == "out_of_memory"
    assert child.wait(5) == -signal.SIGKILL


def test_cancel_stops_waiting_and_running_jobs_and_they_can_go_on(tmp_path: Path, undisturbed: str) -> None:
    jobs = [job_in(tmp_path, seed=seed) for seed in (1, 2)]
    runner, causes = local_runner(command=[*FAKE, "--step-seconds", "0.1"]), list[str]()

    def run(job: Job) -> None:
        with pytest.raises(JobFailed) as failed:
            runner.run(job, None, quiet)
        causes.append(failed.value.cause)

    threads = [threading.Thread(target=run, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    wait_for(lambda: at_step(jobs[0], 6)() or at_step(jobs[1], 6)())
    runner.cancel()
    for thread in threads:
        thread.join()
    assert causes == ["cancelled", "cancelled"]
    assert not any(TrialFolder(job.folder).locked() for job in jobs)
    resumed = local_runner(command=FAKE)
    for job in jobs:
        resumed.run(job, None, quiet)
    assert weights(jobs[0]) == undisturbed


def test_an_interrupted_watch_is_still_known_to_cancel(tmp_path: Path) -> None:
    job = job_in(tmp_path, steps=4000)
    runner = local_runner(command=FAKE)

    def interrupt(status: JobStatus) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runner.run(job, None, interrupt)
    assert TrialFolder(job.folder).locked()
    runner.cancel()
    assert not TrialFolder(job.folder).locked()


def test_somebody_elses_process_is_never_hit(tmp_path: Path) -> None:
    """The lock file names a pid that now belongs to an innocent process, while another one holds the lock."""
    job = job_in(tmp_path, steps=4000)
    child = start_by_hand(job)
    wait_for(at_step(job, 1))
    innocent = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    TrialFolder(job.folder).lock_file.write_text(str(innocent.pid))
    WorkerWatch(job, None)._signal(signal.SIGKILL)
    time.sleep(0.1)
    assert innocent.poll() is None
    for process in (innocent, child):
        process.kill()
        process.wait()


def test_slots_bound_the_jobs_at_work(tmp_path: Path) -> None:
    runner, busy, most = local_runner(2, command=[*FAKE, "--step-seconds", "0.01"]), set[str](), 0
    guard = threading.Lock()

    def run(job: Job) -> None:
        def watch(status: JobStatus) -> None:
            nonlocal most
            with guard:
                (busy.discard if status.state == "done" else busy.add)(status.trial)
                most = max(most, len(busy))

        runner.run(job, None, watch)

    jobs = [job_in(tmp_path, seed=seed) for seed in range(4)]
    threads = [threading.Thread(target=run, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 2
    assert all(job.result_file.exists() for job in jobs)


def test_an_identical_trial_in_another_run_is_reused(tmp_path: Path, undisturbed: str) -> None:
    store, first, second = tmp_path / "store", job_in(tmp_path / "a"), job_in(tmp_path / "b", rung=1)
    runner = local_runner(reuse=store, command=FAKE)
    runner.run(first, None, quiet)
    result = runner.run(second, None, quiet)
    assert (result.reused, result.attempts, result.rung) == (True, 0, 1)
    assert weights(second) == undisturbed
    assert runner.run(second, None, quiet).reused
    (kept,) = store.rglob("adapter.json")
    kept.write_text("{}")
    third = runner.run(job_in(tmp_path / "c"), None, quiet)
    assert (third.reused, third.attempts) == (False, 1)
    assert runner.run(job_in(tmp_path / "d"), None, quiet).reused


def test_a_reused_rung_goes_on_from_the_start(tmp_path: Path, undisturbed: str) -> None:
    runner = local_runner(reuse=tmp_path / "store", command=FAKE)
    runner.run(job_in(tmp_path / "a", stop_step=12), None, quiet)
    assert runner.run(job_in(tmp_path / "b", stop_step=12), None, quiet).reused
    assert not runner.run(job_in(tmp_path / "b", rung=1), None, quiet).reused
    assert weights(job_in(tmp_path / "b")) == undisturbed


def test_pruning_keeps_the_result_and_what_is_asked_for(tmp_path: Path, undisturbed: str) -> None:
    job, runner = job_in(tmp_path), local_runner(command=FAKE)
    runner.run(job, None, quiet)
    runner.store.prune(job.folder, keep_adapter=True)
    assert not list(job.folder.glob("checkpoint-*"))
    assert runner.run(job, None, quiet).attempts == 1
    runner.store.prune(job.folder, keep_adapter=False)
    assert not (job.folder / "adapter").is_symlink() and job.result_file.exists()
    runner.store.prune(job.folder, keep_adapter=False)
    assert runner.run(job, None, quiet).attempts == 2
    assert weights(job) == undisturbed


def test_a_folder_belongs_to_one_trial(tmp_path: Path) -> None:
    job, other = job_in(tmp_path), job_in(tmp_path, seed=2)
    runner = local_runner(command=FAKE)
    runner.run(job, None, quiet)
    with pytest.raises(IntegrityError, match="belongs to trial"):
        runner.run(other.model_copy(update={"folder": job.folder}), None, quiet)


def test_workers_get_no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    from trex.training.runners.worker_starter import worker_environment

    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    monkeypatch.setenv("HF_TOKEN", "secret")
    environment = worker_environment(3)
    assert "secret" not in environment.values()
    assert environment["OMP_NUM_THREADS"] == "3"
