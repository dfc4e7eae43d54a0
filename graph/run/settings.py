"""The settings of a run, frozen at its start."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from ...errors import InputError
from ...evaluation.engines import DEFAULT_ENGINE
from ...training.runners import DEFAULT_LAUNCHER
from ..llm.model_settings import ModelSettings
from ..tree.experiment import ExperimentPlan

SCHEMA_VERSION = 3

DEFAULT_ROUNDS = 2
DEFAULT_TRIALS = 3


def _model_by_name(given: Any) -> Any:
    return {"researcher": given} if isinstance(given, str) and given else given or None


class Settings(BaseModel):
    """Everything that steers a run. Written to run.json and into the graph's state before anything starts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = SCHEMA_VERSION
    task: str = Field(description="A task's name (`trex tasks`) or a path to a task file")
    directory: str = Field(description="The run directory, absolute")
    thread_id: str = Field(description="The graph's thread in the checkpoint")
    checkpoint: Literal["sqlite", "server", "postgres"] = "sqlite"
    rounds: int = Field(default=DEFAULT_ROUNDS, ge=0, le=1000, description="Experiments after the baseline")
    trials: int = Field(default=DEFAULT_TRIALS, ge=1, le=8, description="Configurations of one experiment")
    budget_seconds: float | None = Field(default=None, gt=0, description="Limit on active wall time")
    policy: str = Field(default="mcts", description="A search policy by name (entry points `trex.policies`)")
    seed: int = Field(default=0, ge=0, lt=2**31)
    smoke: bool = False
    llm: Annotated[ModelSettings | None, BeforeValidator(_model_by_name)] = Field(
        default=None, description="Chat models, or 'provider:model' for both; None: the built-in policy"
    )
    judge: Annotated[ModelSettings | None, BeforeValidator(_model_by_name)] = Field(
        default=None,
        description="Chat model that judges answers, if the metric needs one; None: that of `llm`",
    )
    researcher: str = Field(
        default_factory=lambda known: "agent" if known.get("llm") else "builtin",
        description="A Researcher by name (entry points `trex.researchers`); by default 'agent' with a chat model",
    )
    plans: tuple[ExperimentPlan, ...] = Field(
        default=(),
        description="Plans of the first rounds, given by a person; the Researcher makes the others",
    )
    memory: bool = Field(default=True, description="Plans see the tree; off, only the node they refine")
    diagnosis: bool = Field(default=True, description="Failures are read; off, only scores are compared")
    approve: bool = Field(default=False, description="Ask a person before each plan is carried out")
    reuse: bool = Field(default=True, description="Take identical trials and data sets from TREX_HOME")
    allow_python: bool = Field(
        default=False, description="Recipes may run code in Python, in a sandbox (the operator `python`)"
    )
    keep_all: bool = Field(default=False, description="Keep adapters and checkpoints of trials that lost")
    trial_examples: int = Field(default=1024, ge=1, description="Training examples one trial may consume")
    rungs: tuple[float, ...] = Field(
        default=(1 / 3, 1.0), description="Ends of the rungs, as shares of a schedule"
    )
    reduction: int = Field(default=2, ge=2, description="One trial in so many goes on to the next rung")
    rung_items: int = Field(
        default=150, ge=1, description="Items of `search` in a rung evaluation but the last"
    )
    finalists: int = Field(
        default=2, ge=1, description="Experiments confirmed on `confirm` before the winner is frozen"
    )
    fresh_seeds: int = Field(
        default=0,
        ge=0,
        le=8,
        description="Trainings of each finalist with other seeds, while the budget allows",
    )
    regression_checks: bool = Field(default=True, description="See what the winner may have lost")
    launcher: str = Field(
        default=DEFAULT_LAUNCHER, description="Where training jobs run, by name (entry points `trex.runners`)"
    )
    launcher_settings: dict[str, str | int | float | bool] = Field(
        default={}, description="The launcher's own settings, by name"
    )
    engine: str = Field(
        default=DEFAULT_ENGINE, description="An inference engine by name (entry points `trex.engines`)"
    )
    slots: int = Field(ge=1, description="Training jobs at once")
    threads: int = Field(ge=1, description="Threads of one training job")
    grader_threads: int = Field(ge=1, description="Threads of the grader: it works while jobs wait for it")
    memory_limit_mb: int = Field(ge=64, description="Of one training job")
    job_timeout_s: float = Field(default=6 * 3600.0, gt=0)
    track: str = Field(
        default="", description="Where trials are shown too: tensorboard, mlflow, wandb, trackio; '': nowhere"
    )
    device: str = "cpu"
    devices: int = Field(default=1, ge=1, description="GPUs of one training job on 'cuda'")
    resource_class: str = Field(
        default="", description="Hardware that trains, device/hardware/precision; '': this machine's"
    )

    @property
    def judging_model(self) -> ModelSettings | None:
        """The chat model that judges answers, as its `researcher`; None without one."""
        return self.judge or self.llm

    @property
    def path(self) -> Path:
        """The run directory."""
        return Path(self.directory)


def parse_duration(text: str) -> float:
    """Seconds of '90s', '10m', '1.5h' or '600'. Raises InputError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip())
    if not match or float(match[1]) <= 0:
        raise InputError(f"--budget {text!r} is not a duration: write it as 90s, 10m or 1.5h")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]
