"""A runtime without torch: the real graph, tools, runner, grader service and files around a worker and a model made of
arithmetic. For tests that kill a run many times.

    python torch_free.py run DIR     start a run of three rounds; with `slowly`, jobs take seconds
    python torch_free.py resume DIR  go on with it
    python torch_free.py grader      the grader's process
    python torch_free.py good_grader the grader's process, around a model that learns
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from trex.evaluation.engines import Completion
from trex.evaluation.grader.client import GraderClient
from trex.evaluation.grader.messages import GraderSetup
from trex.evaluation.grader.process import serve
from trex.evaluation.task import GenerationSettings, Message, Task
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
GRADER = "grader"
RUNNER = "TREX_TEST_RUNNER"
"""Environment variable: another launcher than this machine's, as `--runner` takes it."""
MEMORY_LIMIT_MB = 1000


def hash_byte(text: str) -> int:
    return hashlib.sha256(text.encode()).digest()[0]


class HashModel:
    """Answers by the hash of the prompt and of the adapter's weights: each adapter has an accuracy of its own."""

    precision = "hash"

    def __init__(self, setup: GraderSetup) -> None:
        pass

    def load(self) -> None:
        pass

    def choose(
        self,
        conversations: Sequence[Sequence[Message]],
        choices: Sequence[str],
        settings: GenerationSettings,
        adapter: Path | None = None,
    ) -> list[Completion]:
        weights = json.loads((adapter / "adapter.json").read_text())["state"] if adapter else "base"
        texts = [turns[-1]["content"] for turns in conversations]
        digests = [hash_byte(f"{weights}\0{text}") for text in texts]
        return [Completion(choices[digest % len(choices)]) for digest in digests]

    def generate(
        self,
        conversations: Sequence[Sequence[Message]],
        settings: GenerationSettings,
        adapter: Path | None = None,
        choices: Sequence[str] | None = None,
    ) -> list[Completion]:
        return self.choose(conversations, choices or [str(n) for n in range(256)], settings, adapter)


class LearningModel(HashModel):
    """With an adapter it answers most tickets of `own_task` rightly, so that a trial wins."""

    def choose(
        self,
        conversations: Sequence[Sequence[Message]],
        choices: Sequence[str],
        settings: GenerationSettings,
        adapter: Path | None = None,
    ) -> list[Completion]:
        from support.own_task import TEAMS  # the process knows the path once it is told

        answers = super().choose(conversations, choices, settings, adapter)
        if adapter is None:
            return answers
        texts = [turns[-1]["content"] for turns in conversations]
        right = [
            next((team for team, words in TEAMS.items() if any(word in text for word in words)), None)
            for text in texts
        ]
        return [
            Completion(team) if team in choices and hash_byte(text) % 8 else answer
            for text, team, answer in zip(texts, right, answers, strict=True)
        ]


def fine(dataset: BuiltDataset, plan: TrainingPlan) -> list[Problem]:
    """A preflight that has no tokenizer to count with."""
    return []


def grader_command() -> list[str]:
    return [sys.executable, __file__, GRADER]


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
    if sys.argv[1] == "grader":
        serve(HashModel)
    elif sys.argv[1] == "good_grader":
        serve(LearningModel)
    elif sys.argv[1] == "run":
        begin(Path(sys.argv[2]))
    else:
        reopen(sys.argv[2]).go(runtimes=RuntimeRegistry(open_runtime))
