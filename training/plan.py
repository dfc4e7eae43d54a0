"""The training plan: all settings of training that an agent may choose, with their bounds.

The seed is not part of a plan: to choose among seeds is to choose among noise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    SerializeAsAny,
    WithJsonSchema,
    field_validator,
)

from ..errors import InputError
from .methods import METHODS, method_of
from .methods.protocol import Stage
from .methods.sft import SftStage
from .weights import WEIGHTS, weights_of
from .weights.lora import LoraWeights
from .weights.protocol import WeightsSettings


def _validated_by(model_of: Callable[[str], type[BaseModel]], field: str, default: str) -> BeforeValidator:
    """Validates a mapping by the model that the value of `field` selects."""

    def validate(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        try:
            model = model_of(str(value.get(field, default)))
        except InputError as error:
            raise ValueError(str(error)) from error
        return model.model_validate(value)

    return BeforeValidator(validate)


_Object = WithJsonSchema({"type": "object"})
_Stage = _validated_by(lambda name: METHODS.load(name).stage, "method", "sft")
_Weights = _validated_by(lambda name: WEIGHTS.load(name).settings, "kind", "lora")
AnyStage = Annotated[SerializeAsAny[Stage], _Stage, _Object]
AnyWeights = Annotated[SerializeAsAny[WeightsSettings], _Weights, _Object]


class TrainingPlan(BaseModel, frozen=True, extra="forbid"):
    """The training of one trial: its starting point, its weights and its stages."""

    start: Literal["base"] = Field(default="base", description="The unchanged base model")
    weights: AnyWeights = Field(default=LoraWeights(), description="What is trained, discriminated by `kind`")
    stages: tuple[AnyStage, ...] = Field(
        default=(SftStage(),), description="Training stages in their order, discriminated by `method`"
    )

    @field_validator("stages", mode="after")
    @classmethod
    def _number_of_stages(cls, stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
        if len(stages) != 1:
            raise ValueError(f"a plan has exactly one stage, not {len(stages)}")
        return stages

    @property
    def stage(self) -> Stage:
        """The only stage."""
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
    """The last step of each rung, in increasing order. The last rung ends with the full schedule.

    Fractions are in (0, 1]. Rungs with the same last step on a short schedule are merged.
    """
    return sorted({max(1, round(total_steps * fraction)) for fraction in fractions} | {total_steps})
