"""Killing a run: everything of it at once, or one kind of process, at a random moment; then comparing trees."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
from trex import load_run
from trex.files import read_json

from support.places import TESTS

TIMES = {"seconds", "load_seconds", "train_seconds", "eval_seconds", "attempts", "reused"}


def launch(command: list[str], home: Path, log: Path) -> subprocess.Popen[bytes]:
    """Start a process of a run in a session of its own."""
    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, *command],
            env=os.environ | {"TREX_HOME": str(home), "PYTHONPATH": str(TESTS)},
            stdout=file,
            stderr=file,
            start_new_session=True,
        )


def processes_of(run: Path) -> list[psutil.Process]:
    """Every process that works on a run: its driver, its grader, its fork server's children, its workers."""
    found = []
    for process in psutil.process_iter():
        try:
            environment, command = process.environ(), process.cmdline()
        except (psutil.Error, OSError):
            continue
        if str(run) in " ".join(command) or environment.get("TREX_TEST_RUN") == str(run):
            found.append(process)
    return found


def family(process: subprocess.Popen[bytes], run: Path) -> list[psutil.Process]:
    """The driver with all its descendants, and workers that outlived an earlier driver."""
    try:
        driver = psutil.Process(process.pid)
        descendants = [driver, *driver.children(recursive=True)]
    except psutil.NoSuchProcess:
        descendants = []
    workers = []
    for status in run.glob("trials/*/status.json"):
        try:
            workers.append(psutil.Process(read_json(status)["pid"]))
        except (psutil.NoSuchProcess, ValueError, KeyError, OSError):
            continue
    return list({p.pid: p for p in [*descendants, *workers, *processes_of(run)]}.values())


def kill(processes: list[psutil.Process]) -> None:
    """SIGKILL, all at once: stopped first, so that none can react to the death of another."""
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for process in processes:
            try:
                if process.pid != os.getpid():
                    process.send_signal(number)
            except psutil.NoSuchProcess:
                continue
    psutil.wait_procs(processes, timeout=10)


def finished_jobs(run: Path) -> dict[str, tuple[int, str]]:
    """Each finished job: when its result was written, and what is in it."""
    found = {}
    for result in run.glob("trials/*/rungs/*/result.json"):
        found[str(result.relative_to(run))] = (result.stat().st_mtime_ns, result.read_text())
    return found


def tree_of(run: Path) -> dict[str, Any]:
    """The run's final tree without what may differ between two runs: times, and how often a job was started."""
    return {e.id: _timeless(e.model_dump(mode="json")) for e in load_run(run).tree}


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(inner) for key, inner in value.items() if key not in TIMES}
    return [_timeless(inner) for inner in value] if isinstance(value, list) else value


def run_with_kills(
    begin: list[str], go_on: list[str], run: Path, home: Path, kills: int, longest: float, seed: int
) -> int:
    """Start a run, kill all of it `kills` times at random moments, resume it after each, to its end.

    A run that ends before all kills were made is not repeated; returns the number of kills made. Asserts
    that no finished job ever runs again.
    """
    chance, made, log = random.Random(seed), 0, run.with_name(f"{run.name}.log")
    process = launch(begin, home, log)
    while made < kills:
        try:
            code = process.wait(timeout=chance.uniform(0.1, longest))
        except subprocess.TimeoutExpired:
            done = finished_jobs(run)
            kill(family(process, run))
            made += 1
            after = finished_jobs(run)
            assert {job: after[job] for job in done} == done, "a finished job changed"
            process = launch(go_on if (run / "run.json").exists() else begin, home, log)
            _check_later(run, done)
        else:
            assert code == 0, log.read_text()[-3000:]
            return made
    done = finished_jobs(run)
    assert process.wait(timeout=300) == 0, log.read_text()[-3000:]
    _check_later(run, done)
    return made


def _check_later(run: Path, done: dict[str, tuple[int, str]]) -> None:
    time.sleep(0.05)
    now = finished_jobs(run)
    assert {job: now.get(job) for job in done} == done, "a finished job was run again"
