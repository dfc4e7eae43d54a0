"""A finished run without torch that a trial has won, made once a session, and what replays it without torch."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from trex import Run, run
from trex.evaluation.engines import ENGINES
from trex.evaluation.grader.messages import GraderSetup
from trex.evaluation.grader.service import GraderService
from trex.evaluation.results import Evaluation
from trex.evaluation.task import Task
from trex.graph.finish import replay
from trex.training.runners.local import LocalLauncher
from trex.training.runners.protocol import LauncherOptions

from support import torch_free
from support.cli import on_the_torch_free_runtime
from support.hash_grader import LearningModel
from support.own_task import write_task


def finished_run(folder: Path) -> Run:
    """A run of an own task in `folder`/run; the task's files lie beside it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TREX_HOME", str(folder / "home"))
        on_the_torch_free_runtime(patch, step_seconds=0.001)
        patch.setattr(torch_free, "GRADER", "learning")
        done = run(write_task(folder), out=folder / "run", smoke=True, rounds=1, trials=2, seed=1)
    assert done.best is not None and done.best.trial is not None, "a trial must win"
    return done


def copy_of(done: Run, folder: Path) -> Path:
    """The run in another directory, to be damaged."""
    return Path(shutil.copytree(done.directory, folder, symlinks=True))


class GraderHere(GraderService):
    """The grader's service in this process."""

    def __init__(self, task: Task, run_dir: Path, base_model: Path, **options: Any) -> None:
        ENGINES.check(options["engine"])
        setup = GraderSetup(task=task, run_dir=run_dir, base_model=base_model, **options)
        super().__init__(setup, LearningModel(setup))

    def evaluate(
        self, adapter: Path | None, split: str, limit: int | None = None, scoring: Any = "auto"
    ) -> Evaluation:
        return super().evaluate(adapter, split, limit, scoring)

    def close(self) -> None:
        """Nothing to stop."""


def replays_without_torch(patch: pytest.MonkeyPatch, done: Run) -> None:
    """From here on `replay` trains and grades on the torch-free runtime, with the base model of that run."""

    def launcher(options: LauncherOptions) -> LocalLauncher:
        return LocalLauncher(replace(options, command=torch_free.worker_command()))

    patch.setattr(torch_free, "STEP_SECONDS", "0.001")
    patch.setattr(replay, "GraderClient", GraderHere)
    patch.setattr(replay, "LAUNCHERS", SimpleNamespace(load=lambda name: launcher))
    patch.setattr(replay, "resolve_model", lambda name: done.directory / "model")
    patch.setattr(replay, "preflight", lambda *_: [])
