"""Answer types of the Executor's chat model. It reads the names and descriptions of the fields."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any

from pydantic import Field, create_model

from ....tools.preview import RecipeArgument
from ....training.methods import METHODS, method_of
from ....training.methods.protocol import RecipeName
from ....training.plan import TrainingPlan
from ...llm.model_answer import ModelAnswer

Sentence = Annotated[str, Field(min_length=3, max_length=400)]


class CannotCarryOut(ModelAnswer):
    """Why a plan cannot be executed, for the Researcher, which will change it."""

    why: Sentence = Field(description="One sentence: what in the data or the tools prevents the plan")
    needs: Sentence = Field(description="One sentence: what an executable plan would need")


class PreparationAnswer(ModelAnswer):
    """The result of a preparation: the plan unchanged, changed recipes, or why it cannot be executed."""

    recipes: dict[RecipeName, RecipeArgument] = Field(
        default_factory=dict,
        description="The recipes that you change, each complete and by its name; the others stay unchanged",
    )
    why: list[Sentence] = Field(
        default_factory=list,
        max_length=4,
        description="With recipes: one sentence per change, what you changed and why it keeps the hypothesis",
    )
    cannot: CannotCarryOut | None = Field(
        default=None, description="Only if no recipe that keeps the hypothesis can be built; else null"
    )


class TrainingChange(ModelAnswer, allow_inf_nan=False):
    """One change of the training settings after a failure; a field that is null stays unchanged.

    There are no fields for epochs, data and seed: with other values it would be another experiment.
    """

    why: Sentence = Field(
        description="One sentence: what the log shows, and why this change helps; or why no change would help"
    )

    def applied(self, plan: TrainingPlan, place: int = 0) -> TrainingPlan:
        """The plan with its stage of that number, from 0, changed; the same plan if nothing is changed.

        Raises PlanError for a change that the stage's method does not allow.
        """
        given = {
            name: value
            for name in type(self).model_fields
            if name != "why" and (value := getattr(self, name)) is not None
        }
        stage = plan.stages[place]
        changed = method_of(stage).adjusted(stage, given)
        return plan.model_copy(update={"stages": (*plan.stages[:place], changed, *plan.stages[place + 1 :])})


@cache
def training_change(method: str) -> type[TrainingChange]:
    """The answer type for that method: a `TrainingChange` with a field for each setting that a repair may change."""
    loaded = METHODS.load(method)
    fields: dict[str, Any] = {}
    for name, way in loaded.repairable.items():
        field = loaded.stage.model_fields[name]
        kind: Any = field.annotation
        for bound in field.metadata:
            kind = Annotated[kind, bound]
        description = f"{'Higher' if way == 'up' else 'Lower'} than before. {field.description}"
        fields[name] = (kind | None, Field(default=None, description=description))
    return create_model("TrainingChange", __base__=TrainingChange, __doc__=TrainingChange.__doc__, **fields)
