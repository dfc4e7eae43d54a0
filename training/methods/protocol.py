"""The protocol of a training method: what one stage of a training plan does.

A method is one object in a file of its own, registered in `training/methods/__init__.py` or by an entry point
`trex.methods`. The rest of the project reads methods through this protocol only. The built-in Researcher is the
exception: its directions propose settings of `sft`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from ..causes import Cause, Problem
from ..data.render import Contents

MAIN = "main"
"""The recipe that a stage trains on unless it names another one."""

RecipeName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,39}$")]

RowSchema = Literal[
    "prompt_completion", "preference_pair", "prompt_and_item", "unpaired_preference", "plain_text"
]
"""What a row of the training set holds: a conversational prompt and its completion; a rejected completion too; a prompt
and the columns that the task's metric reads; a completion that is marked good or bad; a text."""


class Stage(BaseModel):
    """One stage of a training plan: a method, its settings, and the recipe whose rows it trains on."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    method: str
    recipe: RecipeName = Field(
        default=MAIN, description="Name of the plan's recipe that this stage trains on"
    )

    def model_folders(self) -> tuple[str, ...]:
        """Folders of models that the trainer reads besides the base model."""
        return ()


S = TypeVar("S", bound=Stage)


@dataclass(frozen=True)
class StageRepair:
    """A changed stage, and the sentence that reports the change."""

    stage: Stage
    report: str


@dataclass(frozen=True)
class RowMeasurement:
    """What a method finds in the rows of a data set, before it trains on them."""

    measured_rows: int
    """All rows; of a large data set the longest ones and a sample."""
    longest: int
    """Tokens of the longest row that was measured."""
    unfit: Mapping[str, int] = field(default_factory=dict)
    """Measured rows that cannot be trained on as they are, by reason. A row can count more than once."""
    problems: Sequence[Problem] = ()


class Method(Protocol[S]):
    """How a stage trains, and what the project must know of it."""

    name: str
    stage: type[S]
    """The settings: a pydantic model whose fields have bounds and descriptions."""
    row_schema: RowSchema
    trainer: str
    """'module:function'. Only the worker imports it. The function takes a `StageRun`, trains up to its stop
    step, leaves a sealed checkpoint there, and returns fields of `JobResult`: `curve`, `train_loss`, and what else it
    knows of `figures`, `tokens`, `rows_without_loss`, `load_seconds`, `train_seconds` and `peak_memory_mb`."""
    search_space: Mapping[str, tuple[float, float]]
    """Lowest and highest value of the settings that the built-in Researcher may vary."""
    repairable: Mapping[str, Literal["up", "down"]]
    """Settings that the Executor's model may change after a failure, and in which direction."""

    def total_steps(self, stage: S, rows: int) -> int:
        """Optimiser steps of the full schedule on a data set of that many rows."""

    def rows_per_step(self, stage: S) -> int:
        """Rows that one optimiser step consumes."""

    def measure(self, stage: S, dataset: Path, base_model: Path) -> RowMeasurement:
        """Render and tokenise rows as the trainer will. Raises InputError if the base model cannot render them."""

    def plan_faults(self, stage: S, contents: Contents, examples: int) -> list[str]:
        """What is wrong with the stage on rows like these, a sentence each.

        `examples` is what a trial may consume: rows times epochs.
        """

    def effective(self, stage: S) -> dict[str, Any]:
        """The settings that have an effect. Two stages with equal effective settings train the same weights."""

    def repair(self, stage: S, cause: Cause) -> StageRepair | None:
        """The stage to try instead after a failure; None if there is no rule, or nothing is left to change."""

    def adjusted(self, stage: S, changes: Mapping[str, Any]) -> S:
        """The stage with some `repairable` settings changed; rows of an optimiser step stay the same.

        Raises PlanError for a change in the wrong direction, or beyond what a repair may do.
        """
