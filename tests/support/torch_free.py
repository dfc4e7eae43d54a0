"""A runtime without torch: the real graph, tools, runner, grader service and files around a worker and a model made of
arithmetic. For tests that kill a run many times.

    python torch_free.py run DIR     start a run of three rounds; with `slowly`, jobs take seconds
    python torch_free.py resume DIR  go on with it

The grader's process is `hash_grader.py`, which imports no graph.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from trex.evaluation.grader.client import GraderClient
from trex.evaluation.task import Task
from trex.evaluation.task_check import TaskCheck
from trex.ftbench.tasks.sentiment import load
from trex.graph.api import Run, prepare_run, reopen
from trex.graph.run.directory import RunDirectory
from trex.graph.run.runner_choice import choose_runner, launcher_settings
from trex.graph.run.runtime import Runtime, RuntimeRegistry, assemble
from trex.graph.run.settings import Settings
from trex.training.causes import Problem
from trex.training.data.build import BuiltDataset
from trex.training.jobs.job_store import JobStore
from trex.training.plan import TrainingPlan
from trex.training.runners import LAUNCHERS
from trex.training.runners.job_runner import JobRunner
from trex.training.runners.protocol import LauncherOptions

HERE = Path(__file__).parent
STEP_SECONDS = "0.5" if "slowly" in sys.argv else "0.03"


WORKER_OPTIONS: list[str] = []
GRADER = "hash"
RUNNER = "TREX_TEST_RUNNER"
"""Environment variable: another launcher than this machine's, as `--runner` takes it."""
MEMORY_LIMIT_MB = 1000


def fine(dataset: BuiltDataset, plan: TrainingPlan) -> list[Problem]:
    """A preflight that has no tokenizer to count with."""
    return []


def grader_command() -> list[str]:
    return [sys.executable, str(HERE / "hash_grader.py"), GRADER]


def worker_command() -> tuple[str, ...]:
    program = str(HERE / "fake_worker.py")
    return (sys.executable, program, "--step-seconds", STEP_SECONDS, *WORKER_OPTIONS)


def check_files(task: Task) -> TaskCheck:
    """A check that finds nothing: the real one loads a tokenizer."""
    return TaskCheck(
        task=task.name,
        files=[],
        shared={},
        prompt_repeats=[],
        variants=[],
        examples=[],
        smallest_gain={},
        notes=[],
        refused=[],
    )


def open_runtime(settings: Settings) -> Runtime:
    directory = RunDirectory.open(settings.path)
    task = directory.task()
    model = settings.path / "model"
    model.mkdir(exist_ok=True)
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (model / name).write_text("{}")
    grader = GraderClient(task, directory.path, model, command=grader_command())
    chosen = choose_runner(os.environ.get(RUNNER))
    options = LauncherOptions(
        slots=2,
        threads=1,
        settings=launcher_settings(chosen["launcher"], chosen["launcher_settings"]),
        command=worker_command(),
    )
    runner = JobRunner(LAUNCHERS.load(chosen["launcher"])(options), JobStore())
    grader.start()
    settings = settings.model_copy(update={"memory_limit_mb": MEMORY_LIMIT_MB, "job_timeout_s": 600.0})
    return assemble(settings, directory, task, model, grader, runner, fine)


def begin(directory: Path) -> Run:
    prepared = prepare_run(
        load(smoke=True), out=directory, smoke=True, rounds=3, trials=3, trial_examples=96, rungs=(0.5, 1.0)
    )
    return prepared.go(runtimes=RuntimeRegistry(open_runtime))


if __name__ == "__main__":
    if sys.argv[1] == "run":
        begin(Path(sys.argv[2]))
    else:
        reopen(sys.argv[2]).go(runtimes=RuntimeRegistry(open_runtime))
