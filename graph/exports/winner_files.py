"""What an export is made from: the winner's weights, its trial and those that it continues from, and their rows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ...errors import InputError
from ...evaluation.base_models import resolve_model
from ...evaluation.engines.adapter_check import verify_adapter, verify_full_weights
from ...evaluation.task import EMBEDDED_MODEL, TINY_MODEL, Task
from ...files import read_jsonl
from ...training.data.build import TRAIN
from ...training.data.row_kinds import Row
from ...training.jobs.job import StageData, Trial
from ...training.jobs.trial_folder import TrialFolder
from ...training.methods.protocol import Stage
from ..finish.replay import read_winner


@dataclass(frozen=True)
class TrainedStage:
    """A stage that went into the winner's weights, and its last step."""

    stage: Stage
    data: StageData
    steps: int


@dataclass(frozen=True)
class WinnerFiles:
    """The winner of a run directory. Nothing is written there."""

    directory: Path
    task: Task
    trials: tuple[Trial, ...]
    """The trials that its weights come from, the one that started from the base model first."""
    steps: tuple[int, ...]
    """The step at which each of them ended."""

    @property
    def trial(self) -> Trial:
        """The winner itself."""
        return self.trials[-1]

    @property
    def weights(self) -> Path:
        """The folder of its weights."""
        return self.directory / "best" / "adapter"

    @property
    def is_full(self) -> bool:
        """Whether it is a whole model and no adapter."""
        return self.trial.plan.weights.kind == "full"

    @cached_property
    def base_model(self) -> Path:
        """The folder of the base model."""
        return resolve_model(self.task.base_model)

    @property
    def base_name(self) -> str:
        """The base model as other tools find it: its name on the hub, else its folder."""
        name = self.task.base_model
        local = name in (EMBEDDED_MODEL, TINY_MODEL) or Path(name).expanduser().is_dir() or "/" not in name
        return str(self.base_model) if local or "@" in name else name

    def verify(self) -> None:
        """Raise IntegrityError for weights that must not be loaded."""
        if self.is_full:
            verify_full_weights(self.weights)
        else:
            verify_adapter(self.weights, self.base_model)

    def stages(self) -> list[TrainedStage]:
        """All stages in their order."""
        found = []
        for trial, steps in zip(self.trials, self.steps, strict=True):
            for stage, data in zip(trial.plan.stages, trial.stage_data, strict=True):
                if steps > 0:
                    found.append(TrainedStage(stage, data, min(steps, data.total_steps)))
                steps -= data.total_steps
        return found

    def rows(self, data: StageData) -> list[Row]:
        """The rows of a stage's data set."""
        return list(read_jsonl(self.folder(data) / TRAIN))

    def folder(self, data: StageData) -> Path:
        """The folder of a stage's data set in the run. Raises InputError if it is not there."""
        folder = self.directory / "datasets" / Path(data.dataset).name
        if not (folder / TRAIN).exists():
            raise InputError(
                f"{folder} is missing: the run has lost the data set that the winner was trained on"
            )
        return folder


def open_winner(directory: Path) -> WinnerFiles:
    """The winner of a finished run. Raises InputError without one."""
    parts, task = read_winner(directory / "best")
    parts.reverse()
    trials = []
    for part in parts:
        folder = TrialFolder(directory / "trials" / part.plan.trial)
        if not folder.plan_file.exists():
            raise InputError(
                f"{folder.plan_file} is missing: the run has lost a trial that the winner comes from"
            )
        trials.append(folder.read_plan())
    return WinnerFiles(directory, task, tuple(trials), tuple(part.plan.step for part in parts))
