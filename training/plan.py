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
from .weights import WEIGHTS, continued, weights_of
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


MOST_STAGES = 4


class TrainingPlan(BaseModel, frozen=True, extra="forbid"):
    """The training of one trial: its starting point, its weights and its stages."""

    start: Literal["base", "parent"] = Field(
        default="base",
        description="'base': the unchanged base model. 'parent': the best weights of the experiment that is refined; "
        "these keep their kind, rank and targets",
    )
    weights: AnyWeights = Field(default=LoraWeights(), description="What is trained, discriminated by `kind`")
    stages: tuple[AnyStage, ...] = Field(
        default=(SftStage(),), description="Training stages in their order, discriminated by `method`"
    )

    @field_validator("stages", mode="after")
    @classmethod
    def _number_of_stages(cls, stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
        if not 1 <= len(stages) <= MOST_STAGES:
            raise ValueError(f"a plan has 1 to {MOST_STAGES} stages, not {len(stages)}")
        return stages

    @property
    def stage(self) -> Stage:
        """The first stage."""
        return self.stages[0]

    def with_stage(self, **changes: Any) -> TrainingPlan:
        """The plan with other settings of its first stage, not validated again."""
        first, *later = self.stages
        return self.model_copy(update={"stages": (first.model_copy(update=changes), *later)})

    def with_weights(self, **changes: Any) -> TrainingPlan:
        """The plan with other settings of its weights, not validated again.

        It starts from the base model if weights with these settings can't continue from the parent's.
        """
        weights = self.weights.model_copy(update=changes)
        start = self.start if continued(weights, self.weights) == weights else "base"
        return self.model_copy(update={"weights": weights, "start": start})

    def total_steps(self, rows: int) -> int:
        """Optimiser steps of the full schedule if the data set of each stage has that many rows."""
        return sum(method_of(stage).total_steps(stage, rows) for stage in self.stages)

    def effective(self) -> dict[str, Any]:
        """The settings that have an effect: 'epochs' of the first stage, 'stage 2.epochs', 'weights.rank'."""
        weights = weights_of(self.weights).effective(self.weights)
        found: dict[str, Any] = {} if self.start == "base" else {"start": self.start}
        found |= {f"weights.{name}": value for name, value in weights.items()}
        for number, stage in enumerate(self.stages, start=1):
            start = f"stage {number}." if number > 1 else ""
            found |= {f"{start}{name}": value for name, value in method_of(stage).effective(stage).items()}
        return found

    def settings_of(self, name: str) -> tuple[BaseModel, str]:
        """Which settings a name of `effective` belongs to, and its name there."""
        part, _, rest = name.rpartition(".")
        if part == "weights":
            return self.weights, rest
        return self.stages[int(part.removeprefix("stage ")) - 1 if part else 0], rest


def rung_steps(total_steps: int, fractions: Sequence[float]) -> list[int]:
    """The last step of each rung, in increasing order. The last rung ends with the full schedule.

    Fractions are in (0, 1]. Rungs with the same last step on a short schedule are merged.
    """
    return sorted({max(1, round(total_steps * fraction)) for fraction in fractions} | {total_steps})
