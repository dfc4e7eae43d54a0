"""A trial, its jobs, and the files a job writes.

A trial is one training configuration run once; its id is the hash of everything that determines its weights.
A job is (trial, rung): train from the trial's last sealed checkpoint to the rung's last step. On disk:

    trials/<trial id>/plan.json                 the trial, written before anything starts
    trials/<trial id>/status.json               what happens now, for people and for re-attaching
    trials/<trial id>/log.txt                   everything the worker printed
    trials/<trial id>/lock                      flock held by the worker: a second copy exits by itself
    trials/<trial id>/cause.json                why the runner killed it, written before the kill
    trials/<trial id>/attempts.json             starts of a worker, by rung
    trials/<trial id>/checkpoint-<step>/        resumable state, sealed by a manifest written last
    trials/<trial id>/stage-<n>/                the same of the stages after the first, which is number 0
    trials/<trial id>/rungs/<rung>/adapter/     safetensors
    trials/<trial id>/rungs/<rung>/failure.json why the rung has no result
    trials/<trial id>/rungs/<rung>/result.json  written last: its existence means the job is done
    trials/<trial id>/adapter                   relative link to the newest rung's adapter
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field

from ...files import fingerprint, hash_folder
from ...landlock import NOT_CONFINED
from ..causes import Cause
from ..curves import Series
from ..plan import TrainingPlan


class StageData(BaseModel, frozen=True):
    """The data set of one stage, and the stage's steps on it."""

    dataset: str = Field(description="Directory of the built data set")
    fingerprint: str
    rows: int
    total_steps: int


class Resources(BaseModel, frozen=True):
    """What a job needs where it runs, besides its CPU threads. They do not change the weights."""

    devices: int = Field(default=0, ge=0, description="GPUs")
    memory_mb: float | None = Field(default=None, gt=0, description="Limit on memory, in MB; None: no limit")
    seconds: float | None = Field(default=None, gt=0, description="Limit on wall time; None: no limit")


NO_LIMITS = Resources()


class StartWeights(BaseModel, frozen=True):
    """The weights that a trial continues from: those of a rung of another trial in the same folder of trials."""

    trial: str
    rung: int
    hash: str = Field(description="`hash_folder` of the weights")

    def folder(self, trials: Path) -> Path:
        """Where they lie; `trials` is the folder with the trials of the run."""
        return trials / self.trial / "rungs" / str(self.rung) / "adapter"

    def fault(self, trials: Path) -> str | None:
        """Why they can't be used, in one sentence; None if they are there and unchanged."""
        folder = self.folder(trials)
        if folder.is_dir() and hash_folder(folder) == self.hash:
            return None
        state = "not what was scored" if folder.is_dir() else "missing"
        return f"{folder}: the weights to continue from are {state}; start from 'base' or refine another experiment"


class Trial(BaseModel, frozen=True):
    """Everything that determines the trained weights. `dataset` and `rows` are those of the first stage."""

    plan: TrainingPlan
    base_model: str = Field(description="Directory of the base model")
    base_model_hash: str
    dataset: str = Field(description="Directory of the built data set")
    dataset_fingerprint: str
    rows: int
    total_steps: int = Field(description="Of all stages")
    later_stages: tuple[StageData, ...] = Field(default=(), description="Data of the stages after the first")
    start: StartWeights | None = Field(default=None, description="None: the base model's")
    seed: int
    threads: int
    device: str = "cpu"
    dtype: str = "float32"
    resource_class: str = Field(
        default="", description="The hardware that trains it, see `resource_class`; '' in older runs"
    )
    environment: str = Field(description="Hash of the training room's sources and library versions")
    resources: Resources = Field(default=NO_LIMITS, description="Of each of its jobs")

    @property
    def id(self) -> str:
        """A hash of the whole trial. Left out: what changes no weights (places, names of recipes, limits)."""
        places: dict[str, Any] = {
            "resources": True,
            "base_model": True,
            "dataset": True,
            "later_stages": {"__all__": {"dataset"}},
        }
        names = {"stages": {"__all__": {"recipe"}}}
        places["start"] = self.start is None or {"trial", "rung"}
        return fingerprint(self.model_dump(mode="json", exclude={**places, "plan": names}))

    @property
    def stage_data(self) -> tuple[StageData, ...]:
        """The data of each stage."""
        steps = self.total_steps - sum(each.total_steps for each in self.later_stages)
        first = StageData(
            dataset=self.dataset, fingerprint=self.dataset_fingerprint, rows=self.rows, total_steps=steps
        )
        return (first, *self.later_stages)


class Job(BaseModel, frozen=True):
    """Train one trial up to `stop_step`, the end of rung number `rung` (from 0)."""

    trial: Trial
    rung: int = Field(ge=0)
    stop_step: int = Field(ge=1)
    folder: Path = Field(description="trials/<trial id> of the run")

    @property
    def result_file(self) -> Path:
        return self.folder / "rungs" / str(self.rung) / "result.json"


class JobStatus(BaseModel):
    """status.json: the running picture of a trial."""

    trial: str
    state: Literal["starting", "loading", "training", "saving", "done", "failed"]
    rung: int
    step: int = 0
    stop_step: int
    total_steps: int
    loss: float | None = None
    learning_rate: float | None = None
    seconds: float = 0.0
    stage: int = Field(default=0, description="Number of the stage that is trained, from 0")
    pid: int
    attempts: int = Field(ge=1, description="Times a worker was started for this trial's current rung")
    heartbeat: float = Field(description="Unix time of the last sign of life")
    message: str = ""
    confinement: str = Field(default=NOT_CONFINED, description="What keeps the worker from other files")


class JobResult(BaseModel, frozen=True):
    """result.json of a rung."""

    trial: str
    rung: int
    step: int
    adapter_hash: str = Field(description="hash_folder of the adapter directory")
    curve: Series = Field(description="(step, training loss) since step 0, means of bins")
    train_loss: float
    tokens: int = 0
    figures: dict[str, float] = Field(
        default_factory=dict,
        description="What the last stage's method logged, e.g. 'kl': means of its last steps",
    )
    series: dict[str, Series] = Field(
        default_factory=dict, description="The same in bins over all stages: (last step, mean)"
    )
    rows_without_loss: int = 0
    peak_memory_mb: float = 0.0
    load_seconds: float = 0.0
    train_seconds: float = 0.0
    attempts: int = 1
    reused: bool = False
    confinement: str = Field(default=NOT_CONFINED, description="What kept the worker from other files")


class JobFailed(Exception):
    """A job that ended without a result, with a cause that repair rules understand.

    `stage`: the number of the stage that failed, from 0, if it is known.
    """

    def __init__(self, cause: Cause, message: str, stage: int | None = None) -> None:
        super().__init__(message)
        self.cause: Cause = cause
        self.message = message
        self.stage = stage
