"""What the Executor's model may answer: types whose descriptions are its documentation, and whose bounds hold."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from ....errors import PlanError
from ....training.data.recipe import DataRecipe
from ....training.data.recipe_file import recipe_from_yaml
from ....training.plan import TrainingPlan

LOWEST_RATE = 100
"""A learning rate is lowered to one part in so many at most: below, a trial would hardly learn."""


def _read(value: Any) -> Any:
    """Some models write a nested object as text: JSON and YAML are both read."""
    try:
        return recipe_from_yaml(value) if isinstance(value, str) else value
    except PlanError as error:
        raise ValueError(str(error)) from None


Recipe = Annotated[DataRecipe, BeforeValidator(_read), WithJsonSchema({"type": "object"})]
Sentence = Annotated[str, Field(min_length=3, max_length=400)]


class CannotCarryOut(BaseModel):
    """Why a plan cannot be carried out, for the Researcher, who will change it."""

    model_config = ConfigDict(extra="forbid")

    why: Sentence = Field(description="One sentence: what in the data or the tools stands against the plan")
    needs: Sentence = Field(description="One sentence: what a plan would need that could be carried out")


class Prepared(BaseModel):
    """The end of a preparation: the plan as it stands, a changed recipe, or why there is none."""

    model_config = ConfigDict(extra="forbid")

    recipe: Recipe | None = Field(
        default=None,
        description="The whole recipe to be carried out, if it differs from the one you were given; null: that one",
    )
    why: list[Sentence] = Field(
        default_factory=list,
        max_length=4,
        description="With a recipe: one sentence a change, what was changed and why it keeps the hypothesis",
    )
    cannot: CannotCarryOut | None = Field(
        default=None, description="Only if no recipe that keeps the hypothesis can be built; else null"
    )


class TrainingChange(BaseModel):
    """One change of the training settings after a failure; what stays null stays as it is.

    Epochs, data and seed are not here: a repair makes a training run, it does not make it another experiment.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    batch_size: int | None = Field(
        default=None, ge=1, le=512, description="Smaller; gradient_accumulation then makes up for it"
    )
    max_length: int | None = Field(default=None, ge=16, le=32_768, description="Tokens; larger")
    learning_rate: float | None = Field(
        default=None, gt=0, le=0.1, description=f"Lower, down to 1/{LOWEST_RATE} of what it was"
    )
    warmup_ratio: float | None = Field(default=None, ge=0, le=0.5, description="Longer")
    max_grad_norm: float | None = Field(default=None, gt=0, le=100, description="Lower")
    append_eos: bool | None = Field(default=None, description="true, if answers lack their end marker")
    why: Sentence = Field(
        description="One sentence: what the log shows, and why this helps; or why nothing here would help"
    )

    def applied(self, plan: TrainingPlan) -> TrainingPlan:
        """The changed plan; the plan itself if nothing is changed.

        Raises PlanError for a change in the wrong direction. Rows of an optimiser step stay the same, so that
        the schedule does.
        """
        given = {name: value for name, value in self if name != "why" and value is not None}
        changed = {name: value for name, value in given.items() if value != getattr(plan, name)}
        lower = ("batch_size", "learning_rate", "max_grad_norm")
        for name, value in changed.items():
            old = getattr(plan, name)
            if (value > old) == (name in lower):
                raise PlanError(f"{name} may only go {'down' if name in lower else 'up'} from {old:g}")
        if self.learning_rate is not None and self.learning_rate < plan.learning_rate / LOWEST_RATE:
            raise PlanError(f"learning_rate may go down to {plan.learning_rate / LOWEST_RATE:g}, no lower")
        if "batch_size" in changed:
            rows = plan.batch_size * plan.gradient_accumulation
            accumulation, rest = divmod(rows, int(changed["batch_size"]))
            if rest or accumulation > 128:
                raise PlanError(f"batch_size must divide the {rows} rows of a step, into 128 parts at most")
            changed["gradient_accumulation"] = accumulation
        return plan.model_copy(update=changed)
