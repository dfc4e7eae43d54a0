"""One stage of a job, as its trainer sees it: steps are counted from the stage's beginning."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...files import read_json, write_json
from ..curves import Series
from ..methods.protocol import Stage
from .checkpoints import checkpoint_folder
from .job import StageData, Trial
from .worker_session import WorkerSession

_OUTCOME = "outcome.json"


@dataclass(frozen=True)
class StageRun:
    """A stage, its data, and where its checkpoints lie. `start`: the weights that it begins with; None: the base's."""

    session: WorkerSession
    stage: Stage
    data: StageData
    folder: Path
    stop_step: int
    first_step: int = 0
    """Steps of the stages before."""
    index: int = 0
    """The stage's number, from 0."""
    start: Path | None = None

    @property
    def trial(self) -> Trial:
        return self.session.job.trial

    @property
    def ends(self) -> bool:
        """Whether the stage ends in this job."""
        return self.stop_step == self.data.total_steps

    @property
    def checkpoint(self) -> Path:
        """The checkpoint that the stage leaves at its stop step."""
        return checkpoint_folder(self.folder, self.stop_step)

    def update(self, step: int | None = None, **fields: Any) -> None:
        """Change fields of the job's status; `step` is one of the stage."""
        if step is not None:
            fields["step"] = self.first_step + step
        self.session.update(stage=self.index, **fields)

    def outcome(self) -> dict[str, Any] | None:
        """What an earlier job found when it ended this stage."""
        path = self.folder / _OUTCOME
        known: dict[str, Any] | None = read_json(path) if self.ends and path.exists() else None
        return known

    def keep(self, outcome: dict[str, Any]) -> None:
        """Keep the outcome of a stage that has ended, for the jobs of later rungs."""
        if self.ends:
            write_json(self.folder / _OUTCOME, outcome | {"load_seconds": 0.0, "train_seconds": 0.0})


def stage_runs(session: WorkerSession) -> Iterator[StageRun]:
    """The stages of a job's trial up to the job's stop step, each from the weights of the one before."""
    trial = session.job.trial
    start = None if trial.start is None else trial.start.folder(session.folder.path.parent)
    first, stop = 0, session.job.stop_step
    for index, (stage, data) in enumerate(zip(trial.plan.stages, trial.stage_data, strict=True)):
        if first >= stop:
            return
        folder = session.folder.path / f"stage-{index}" if index else session.folder.path
        run = StageRun(session, stage, data, folder, min(stop - first, data.total_steps), first, index, start)
        yield run
        first, start = first + data.total_steps, run.checkpoint


def joined(runs: list[StageRun], outcomes: list[dict[str, Any]]) -> dict[str, Any]:
    """The outcome of a job from those of its stages: fields of `JobResult`."""
    curve = [
        (run.first_step + step, loss)
        for run, each in zip(runs, outcomes, strict=True)
        for step, loss in each["curve"]
    ]
    sums = {
        name: sum(each.get(name, 0) for each in outcomes)
        for name in ("tokens", "rows_without_loss", "load_seconds", "train_seconds")
    }
    series: dict[str, Series] = {}
    for run, each in zip(runs, outcomes, strict=True):
        for name, points in each.get("series", {}).items():
            series.setdefault(name, []).extend((run.first_step + step, value) for step, value in points)
    memory = max(each.get("peak_memory_mb", 0.0) for each in outcomes)
    return outcomes[-1] | sums | {"curve": curve, "series": series, "peak_memory_mb": memory}
