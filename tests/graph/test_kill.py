"""`kill -9` at any moment: nothing that was finished is done again, nothing is lost, the tree is the same."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from support.kill import finished_jobs, kill, launch, processes_of, run_with_kills, tree_of
from support.places import SUPPORT
from trex.files import read_json

TORCH_FREE = str(SUPPORT / "torch_free.py")
SMOKE = [
    "-m",
    "trex.graph.cli.commands",
    "run",
    "sentiment",
    "--smoke",
    "--rounds",
    "2",
    "--trials",
    "2",
    "--no-reuse",
]


def torch_free(run: Path) -> tuple[list[str], list[str]]:
    return [TORCH_FREE, "run", str(run)], [TORCH_FREE, "resume", str(run)]


def smoke(run: Path) -> tuple[list[str], list[str]]:
    return [*SMOKE, "--out", str(run)], ["-m", "trex.graph.cli.commands", "resume", str(run)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    begin, _ = torch_free(folder / "run")
    assert launch(begin, folder / "home", folder / "log").wait(timeout=120) == 0, (folder / "log").read_text()
    return folder / "run"


def test_the_whole_process_tree_killed_4_times(tmp_path: Path, undisturbed: Path) -> None:
    check_killed_trees(tmp_path, undisturbed, kills=4)


@pytest.mark.slow
def test_the_whole_process_tree_killed_25_times(tmp_path: Path, undisturbed: Path) -> None:
    check_killed_trees(tmp_path, undisturbed, kills=25)


def check_killed_trees(tmp_path: Path, undisturbed: Path, kills: int) -> None:
    made = 0
    for attempt in range(kills):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        run = folder / "run"
        made += run_with_kills(
            *torch_free(run), run, folder / "home", kills - made, longest=patience(undisturbed), seed=attempt
        )
        assert tree_of(run) == tree_of(undisturbed)
        if made >= kills:
            break
    assert made >= kills


def test_a_real_smoke_run_killed_once(tmp_path: Path) -> None:
    check_real_smoke_runs(tmp_path, kills=1)


@pytest.mark.slow
def test_real_smoke_runs_killed_25_times(tmp_path: Path) -> None:
    check_real_smoke_runs(tmp_path, kills=25)


def check_real_smoke_runs(tmp_path: Path, kills: int) -> None:
    reference = tmp_path / "reference"
    begin, _ = smoke(reference)
    assert launch(begin, tmp_path / "home", tmp_path / "log").wait(timeout=300) == 0, (
        tmp_path / "log"
    ).read_text()
    made = 0
    for attempt in range(kills):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        run = folder / "run"
        made += run_with_kills(
            *smoke(run), run, folder / "home", min(3, kills - made), longest=patience(reference), seed=attempt
        )
        assert tree_of(run) == tree_of(reference)
        if made >= kills:
            break
    assert made >= kills


def patience(reference: Path) -> float:
    """The longest wait before a kill, in seconds: on any machine it comes while a run like this is at work."""
    active: float = read_json(reference / "clock.json")["active_seconds"]
    return 0.6 * active


def test_only_the_graph_is_killed_and_jobs_go_on(tmp_path: Path, undisturbed: Path) -> None:
    run = tmp_path / "run"
    begin, go_on = torch_free(run)
    process = launch([*begin, "slowly"], tmp_path / "home", tmp_path / "log")
    pid = wait_for_worker(run)
    process.kill()
    process.wait()
    assert psutil.pid_exists(pid), "a job must outlive its graph"
    assert launch(go_on, tmp_path / "home", tmp_path / "log").wait(timeout=120) == 0, (
        tmp_path / "log"
    ).read_text()
    assert tree_of(run) == tree_of(undisturbed)
    attempts = [read_json(file)["attempts"] for file in run.glob("trials/*/rungs/*/result.json")]
    assert set(attempts) == {1}, "the job was attached to, not started again"


def test_only_a_training_job_is_killed(tmp_path: Path, undisturbed: Path) -> None:
    run = tmp_path / "run"
    begin, _ = torch_free(run)
    process = launch([*begin, "slowly"], tmp_path / "home", tmp_path / "log")
    os.kill(wait_for_worker(run), 9)
    assert process.wait(timeout=120) == 0, (tmp_path / "log").read_text()
    assert tree_of(run) == tree_of(undisturbed)
    attempts = [read_json(file)["attempts"] for file in run.glob("trials/*/rungs/*/result.json")]
    assert sorted(attempts)[-1] == 2


def test_only_the_grader_is_killed(tmp_path: Path, undisturbed: Path) -> None:
    run = tmp_path / "run"
    begin, _ = torch_free(run)
    process = launch(begin, tmp_path / "home", tmp_path / "log")
    killed = 0
    while process.poll() is None and killed < 2:  # a third death in a row would be taken for a fault
        time.sleep(1.0)
        for child in psutil.Process(process.pid).children() if process.poll() is None else []:
            if any(word.endswith("hash_grader.py") for word in child.cmdline()):
                child.kill()
                killed += 1
    assert process.wait() == 0, (tmp_path / "log").read_text()
    assert killed > 0
    assert tree_of(run) == tree_of(undisturbed)


def test_a_finished_run_is_left_alone(tmp_path: Path, undisturbed: Path) -> None:
    before = finished_jobs(undisturbed), tree_of(undisturbed)
    _, go_on = torch_free(undisturbed)
    home = undisturbed.with_name("home")
    assert launch(go_on, home, tmp_path / "log").wait(timeout=60) == 0, (tmp_path / "log").read_text()
    assert (finished_jobs(undisturbed), tree_of(undisturbed)) == before


def test_nothing_of_a_run_stays_behind(undisturbed: Path) -> None:
    left = processes_of(undisturbed)
    kill(left)
    assert left == []


def wait_for_worker(run: Path) -> int:
    """The pid of a worker in the middle of its training."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        for file in run.glob("trials/*/status.json"):
            status = read_json(file)
            if status["state"] == "training" and status["step"] >= 1:
                pid: int = status["pid"]
                return pid
        time.sleep(0.02)
    raise subprocess.TimeoutExpired("worker", 60)
