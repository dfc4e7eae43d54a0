"""What methods that descend a gradient share: the settings of the optimiser and its schedule, and their repairs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, Literal, TypeVar

from pydantic import Field, model_validator

from ...errors import PlanError
from ..causes import Cause
from ..data.render import Contents
from .prompt_completion import wrong_kind
from .protocol import RowSchema, Stage, StageRepair

LOWEST_RATE = 100
"""A repair lowers the learning rate to one part in so many at most: below, a trial would hardly learn."""

FEWEST_STEPS = 5
"""Optimiser steps below which hardly anything is learnt."""

LONGEST = 32_768
_SPARE = 1.05  # epochs and shares are rounded: a little over the budget is no fault
_MOST_ACCUMULATION = 128


class ScheduledStage(Stage):
    """The optimiser AdamW and its schedule. Fields follow `transformers.TrainingArguments`."""

    learning_rate: float = Field(default=1e-3, gt=0, le=1e-1, description="Peak learning rate of AdamW")
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup"] = Field(
        default="linear", description="How the learning rate falls after the warm-up"
    )
    warmup_ratio: float = Field(default=0.05, ge=0, le=0.5, description="Share of the steps that warm up")
    epochs: float = Field(
        default=1.0, gt=0, le=20, description="Passes over the data set; ignored with max_steps"
    )
    max_steps: int | None = Field(
        default=None, ge=1, le=100_000, description="Full schedule in optimiser steps"
    )
    batch_size: int = Field(default=16, ge=1, le=512, description="Rows of one forward pass")
    gradient_accumulation: int = Field(
        default=1, ge=1, le=_MOST_ACCUMULATION, description="Forward passes of one optimiser step"
    )
    max_length: int = Field(
        default=256, ge=16, le=LONGEST, description="Tokens; longer rows are repaired or refused"
    )
    weight_decay: float = Field(default=0.0, ge=0, le=1, description="Decoupled weight decay of AdamW")
    max_grad_norm: float = Field(default=1.0, gt=0, le=100, description="Gradients are clipped to this norm")

    @model_validator(mode="before")
    @classmethod
    def _without_packing(cls, fields: Any) -> Any:
        if isinstance(fields, dict) and fields.keys() & {"packing", "padding_free"}:
            raise ValueError(
                "packing is not offered: rows of similar length share a batch, which saves padding too; leave it out"
            )
        return fields


T = TypeVar("T", bound=ScheduledStage)


class ScheduledMethod(Generic[T]):
    """The part of `protocol.Method` that follows from a schedule."""

    row_schema: RowSchema
    fewest_rows = 1
    """Rows that one forward pass needs."""
    repairable: Mapping[str, Literal["up", "down"]] = {
        "batch_size": "down",
        "max_length": "up",
        "learning_rate": "down",
        "warmup_ratio": "up",
        "max_grad_norm": "down",
    }

    def total_steps(self, stage: T, rows: int) -> int:
        """See `protocol.Method`."""
        if stage.max_steps is not None:
            return stage.max_steps
        per_epoch = -(-rows // self.rows_per_step(stage))
        return max(1, round(per_epoch * stage.epochs))

    def rows_per_step(self, stage: T) -> int:
        """See `protocol.Method`."""
        return stage.batch_size * stage.gradient_accumulation

    def schedule_faults(self, stage: T, contents: Contents, examples: int) -> list[str]:
        """What is wrong with the kind of rows and the number of steps; see `protocol.Method.plan_faults`."""
        rows, wrong = contents.rows, wrong_kind(self.row_schema, contents)
        faults = [wrong] if wrong else []
        steps, step = self.total_steps(stage, rows), self.rows_per_step(stage)
        # The last step of a pass may be a smaller one, so passes are counted in rows and not in steps.
        used = steps * step if stage.max_steps is not None else round(rows * stage.epochs)
        if used > examples * _SPARE:
            name = "epochs" if stage.max_steps is None else "max_steps"
            fits = f"{examples / rows:.3g}" if stage.max_steps is None else f"{max(1, examples // step)}"
            faults.append(
                f"{used} examples would be consumed ({rows} rows, {steps} steps of {step}), {examples} "
                f"are allowed: set {name} to {fits}, or take fewer rows"
            )
        if steps < FEWEST_STEPS:
            faults.append(
                f"only {steps} optimiser steps of {step} rows: lower batch_size, or take more rows or epochs"
            )
        return faults

    def effective(self, stage: T) -> dict[str, Any]:
        """See `protocol.Method`."""
        settings = stage.model_dump()
        if stage.max_steps is not None:
            del settings["epochs"]
        if stage.lr_scheduler_type == "constant":
            del settings["warmup_ratio"]
        return settings

    def repair(self, stage: T, cause: Cause) -> StageRepair | None:
        """One rule for a cause, a small change that keeps the hypothesis; see `protocol.Method`."""
        if cause == "too_long" and stage.max_length < LONGEST:
            length = min(stage.max_length * 2, LONGEST)
            return _repair(stage, f"max_length {stage.max_length} → {length}: long rows", max_length=length)
        if cause == "out_of_memory" and stage.batch_size >= 2 * self.fewest_rows:
            batch, rows = stage.batch_size // 2, self.rows_per_step(stage)
            accumulation = min(rows // batch, _MOST_ACCUMULATION)
            report = f"out of memory: batch_size {stage.batch_size} → {batch}, {accumulation}× accumulation"
            return _repair(stage, report, batch_size=batch, gradient_accumulation=accumulation)
        if cause == "nan_loss" and stage.learning_rate >= 1e-6:
            rate, warmup = stage.learning_rate / 3, max(stage.warmup_ratio, 0.1)
            report = f"learning_rate {stage.learning_rate:g} → {rate:g} with warm-up: the loss became NaN"
            return _repair(stage, report, learning_rate=rate, warmup_ratio=warmup)
        return None

    def adjusted(self, stage: T, changes: Mapping[str, Any]) -> T:
        """See `protocol.Method`."""
        changed = {name: value for name, value in changes.items() if value != getattr(stage, name)}
        for name, value in changed.items():
            old = getattr(stage, name)
            if (value > old) == (self.repairable[name] == "down"):
                raise PlanError(f"{name} may only go {self.repairable[name]} from {old:g}")
        lowest = stage.learning_rate / LOWEST_RATE
        if changed.get("learning_rate", lowest) < lowest:
            raise PlanError(f"learning_rate may go down to {lowest:g}, no lower")
        if changed.get("batch_size", self.fewest_rows) < self.fewest_rows:
            raise PlanError(f"batch_size may go down to {self.fewest_rows}, no lower")
        if "batch_size" in changed:
            rows = self.rows_per_step(stage)
            accumulation, rest = divmod(rows, int(changed["batch_size"]))
            if rest or accumulation > _MOST_ACCUMULATION:
                raise PlanError(
                    f"batch_size must divide the {rows} rows of a step, into {_MOST_ACCUMULATION} parts at most"
                )
            changed["gradient_accumulation"] = accumulation
        return stage.model_copy(update=changed)


def _repair(stage: ScheduledStage, report: str, **changes: Any) -> StageRepair:
    return StageRepair(stage.model_copy(update=changes), report)
