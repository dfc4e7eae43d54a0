"""A training plan: every choice an agent may make about training, declared and bounded.

The seed is not part of a plan: choosing among seeds is choosing among noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializeAsAny,
    WithJsonSchema,
    field_validator,
)

from ..errors import InputError
from ..registry import Registry
from .methods import METHODS, method_of
from .methods.protocol import Stage
from .methods.sft import SftStage
from .weights import WEIGHTS, weights_of
from .weights.lora import LoraWeights
from .weights.protocol import WeightsSettings

MOST_STAGES = 1
"""Stages of one plan that can be carried out today."""


def _read_stage(value: Any) -> Any:
    """A stage by its `method`; without one it is `sft`."""
    if not isinstance(value, dict):
        return value
    return _known(METHODS, value.get("method", "sft")).stage.model_validate(value)


def _read_weights(value: Any) -> Any:
    """Settings of weights by their `kind`; without one they are `lora`."""
    if not isinstance(value, dict):
        return value
    return _known(WEIGHTS, value.get("kind", "lora")).settings.model_validate(value)


def _known(registry: Registry[Any], name: object) -> Any:
    try:
        return registry.load(str(name))
    except InputError as error:
        raise ValueError(str(error)) from error


_Object = WithJsonSchema({"type": "object"})
AnyStage = Annotated[SerializeAsAny[Stage], BeforeValidator(_read_stage), _Object]
AnyWeights = Annotated[SerializeAsAny[WeightsSettings], BeforeValidator(_read_weights), _Object]


class TrainingPlan(BaseModel):
    """What one trial trains: where it starts, which weights, and in which stages."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: Literal["base"] = Field(default="base", description="The base model as it comes")
    weights: AnyWeights = Field(default=LoraWeights(), description="What is trained, discriminated by `kind`")
    stages: tuple[AnyStage, ...] = Field(
        default=(SftStage(),),
        description="What is done one after the other, discriminated by `method`",
    )

    @field_validator("stages", mode="after")
    @classmethod
    def _can_be_carried_out(cls, stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
        if not stages:
            raise ValueError("a plan has at least one stage")
        if len(stages) > MOST_STAGES:
            raise ValueError(f"{len(stages)} stages are planned, at most {MOST_STAGES} can be carried out")
        return stages

    @property
    def stage(self) -> Stage:
        """The only stage; to be replaced by a loop where plans have several."""
        (stage,) = self.stages
        return stage

    def with_stage(self, **changes: Any) -> TrainingPlan:
        """The plan with other settings of its only stage, not validated again."""
        return self.model_copy(update={"stages": (self.stage.model_copy(update=changes),)})

    def with_weights(self, **changes: Any) -> TrainingPlan:
        """The plan with other settings of its weights, not validated again."""
        return self.model_copy(update={"weights": self.weights.model_copy(update=changes)})

    def total_steps(self, rows: int) -> int:
        """Optimiser steps of the full schedule on a data set of that many rows."""
        return method_of(self.stage).total_steps(self.stage, rows)

    def effective(self) -> dict[str, Any]:
        """The settings that have an effect: those of the stage, and those of the weights as 'weights.rank'."""
        weights = weights_of(self.weights).effective(self.weights)
        stage: dict[str, Any] = method_of(self.stage).effective(self.stage)
        return stage | {f"weights.{name}": value for name, value in weights.items()}


def rung_steps(total_steps: int, fractions: Sequence[float]) -> list[int]:
    """Where each rung ends, in steps of the full schedule: increasing, the last one is the whole.

    Fractions lie in (0, 1]; rungs that would coincide on a short schedule are merged.
    """
    ends = sorted({max(1, round(total_steps * fraction)) for fraction in fractions} | {total_steps})
    return [end for end in ends if end <= total_steps]
