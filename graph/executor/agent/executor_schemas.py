"""What the Executor's model may answer: types whose descriptions are its documentation, and whose bounds hold."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, create_model

from ....errors import PlanError
from ....training.data.recipe import DataRecipe
from ....training.data.recipe_file import recipe_from_yaml
from ....training.methods import METHODS, method_of
from ....training.methods.protocol import RecipeName
from ....training.plan import TrainingPlan


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


class PreparationAnswer(BaseModel):
    """The end of a preparation: the plan as it stands, changed recipes, or why there are none."""

    model_config = ConfigDict(extra="forbid")

    recipes: dict[RecipeName, Recipe] = Field(
        default_factory=dict,
        description="The recipes that you change, each whole and by its name; the others stay as they are",
    )
    why: list[Sentence] = Field(
        default_factory=list,
        max_length=4,
        description="With recipes: one sentence a change, what was changed and why it keeps the hypothesis",
    )
    cannot: CannotCarryOut | None = Field(
        default=None, description="Only if no recipes that keep the hypothesis can be built; else null"
    )


class TrainingChange(BaseModel):
    """One change of the training settings after a failure; what stays null stays as it is.

    Epochs, data and seed are not here: a repair makes a training run, it does not make it another experiment.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    why: Sentence = Field(
        description="One sentence: what the log shows, and why this helps; or why nothing here would help"
    )

    def applied(self, plan: TrainingPlan) -> TrainingPlan:
        """The changed plan; the plan itself if nothing is changed.

        Raises PlanError for a change that the stage's method does not allow.
        """
        given = {name: value for name, value in self if name != "why" and value is not None}
        stage = method_of(plan.stage).adjusted(plan.stage, given)
        return plan.model_copy(update={"stages": (stage,)})


@cache
def training_change(method: str) -> type[TrainingChange]:
    """The answer for stages of that method: a `TrainingChange` with each setting that a repair may change."""
    found = METHODS.load(method)
    fields: dict[str, Any] = {}
    for name, way in found.repairable.items():
        field = found.stage.model_fields[name]
        kind: Any = field.annotation
        for bound in field.metadata:
            kind = Annotated[kind, bound]
        direction = "Higher" if way == "up" else "Lower"
        fields[name] = (
            kind | None,
            Field(default=None, description=f"{direction} than it was. {field.description}"),
        )
    made: type[TrainingChange] = create_model(
        "TrainingChange", __base__=TrainingChange, __doc__=TrainingChange.__doc__, **fields
    )
    return made
