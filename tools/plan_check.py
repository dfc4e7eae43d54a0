"""The tool `check_plan`: lists all problems of a plan before it is submitted.

It checks whether the recipes can be executed, whether the trials differ enough, whether a configuration was tried
before, and whether the plan fits the budget of examples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Annotated, Any

from langchain_core.tools import BaseTool
from pydantic import Field, WithJsonSchema

from ..errors import TrexError
from ..evaluation.task import Task
from ..training.data.build import preview
from ..training.data.recipe import DataRecipe
from ..training.data.recipe_execution import ModelNeeded
from ..training.methods import method_of
from ..training.methods.protocol import RecipeName
from ..training.plan import TrainingPlan
from .agent_tool import agent_tool
from .excerpt import brief, fitting
from .parent_changes import ParentConfiguration
from .preview import RecipeArgument
from .untrusted import quoted

ALIKE = 1.25
"""Two values of a setting whose ratio is smaller cannot be distinguished by a noisy score."""

_NEAR = 0.02  # of settings that lie in [0, 1] and may be zero: their difference counts, not their ratio

_RECIPES = Field(min_length=1, max_length=4, description="The plan's recipes by name")
_TRAININGS = Field(min_length=1, max_length=8, description="The training plan of every trial")

Recipes = Mapping[str, DataRecipe]
PlanCheck = Callable[[Recipes, Sequence[TrainingPlan]], Sequence[str]]


@dataclass(frozen=True)
class Tried:
    """A configuration that was run before, in the experiment of that id."""

    experiment: str
    recipe: DataRecipe
    training: TrainingPlan


def plan_check_tool(check: PlanCheck, parent: ParentConfiguration | None = None) -> BaseTool:
    """The tool `check_plan`. `check` returns the problems of a plan, e.g. `plan_problems`.

    With a `parent` recipes and trainings may be written as changes of the parent's.
    """

    def check_plan(
        recipes: Annotated[dict[RecipeName, RecipeArgument], _RECIPES],
        trainings: Annotated[
            list[TrainingPlan], WithJsonSchema({"type": "array", "items": {"type": "object"}}), _TRAININGS
        ],
    ) -> str:
        problems = check(recipes, trainings)
        if not problems:
            return "nothing is wrong with this plan"
        listed = [f"{number}. {brief(problem, 600)}" for number, problem in enumerate(problems, start=1)]
        return quoted(fitting([f"{len(problems)} to change:", *listed]), "the check of the plan")

    return agent_tool(
        check_plan,
        "Check a plan before handing it in. Lists all that is wrong: a recipe that cannot be "
        "carried out, trials that are the same or too alike, configurations that were tried before, steps "
        "beyond the budget, rows longer than max_length.",
        {} if parent is None else _changes_of(parent),
    )


def _changes_of(parent: ParentConfiguration) -> dict[str, Any]:
    recipes = Annotated[dict[RecipeName, RecipeArgument], parent.recipes_argument(), _RECIPES]
    return {
        "recipes": recipes,
        "trainings": Annotated[list[parent.training_argument()], _TRAININGS],  # type: ignore[misc]
    }


def plan_problems(
    recipes: Recipes,
    trainings: Sequence[TrainingPlan],
    task: Task,
    *,
    examples: int,
    trials: int | None = None,
    tried: Sequence[Tried] = (),
    allow_python: bool = False,
) -> list[str]:
    """The problems of a plan, one sentence each; an empty list for a valid plan.

    `examples` is the number that one trial may consume (rows × epochs), `trials` the number of trials required,
    `tried` the configurations that were run before. Reads sources and renders rows; writes nothing.
    """
    problems = []
    if trials is not None and len(trainings) != trials:
        problems.append(f"{len(trainings)} trials are planned, {trials} are wanted")
    problems += _alike(trainings)
    problems += _unknown(recipes, trainings)
    problems += _repeated(recipes, trainings, tried)
    faults = []
    for name, recipe in recipes.items():
        try:
            contents = preview(recipe, task, allow_python=allow_python).report.contents
        except ModelNeeded:
            continue  # what the model makes is seen when the data set is built
        except TrexError as error:
            faults.append(f"{_named(name, recipes)} cannot be carried out: {error}")
            continue
        for number, training in enumerate(trainings, start=1):
            for place, stage in enumerate(training.stages, start=1):
                if stage.recipe != name:
                    continue
                found = method_of(stage).plan_faults(stage, contents, examples // len(training.stages))
                where = f"trial {number}" + (f", stage {place}" if len(training.stages) > 1 else "")
                problems += [f"{where}: {fault}" for fault in found]
    return [*faults, *problems]


def _named(name: str, recipes: Recipes) -> str:
    return "the recipe" if len(recipes) == 1 else f"the recipe {name!r}"


def _unknown(recipes: Recipes, trainings: Sequence[TrainingPlan]) -> Iterator[str]:
    """Recipes that a stage names but the plan does not contain, and recipes that no stage names."""
    names = [
        (number, stage.recipe) for number, each in enumerate(trainings, start=1) for stage in each.stages
    ]
    for number, name in names:
        if name not in recipes:
            yield f"trial {number} trains on the recipe {name!r}, but the recipes are {', '.join(recipes)}"
    for name in recipes.keys() - {name for _, name in names}:
        yield f"no trial trains on the recipe {name!r}: leave it out, or name it in a stage"


def _alike(trainings: Sequence[TrainingPlan]) -> Iterator[str]:
    for (one, first), (other, second) in combinations(enumerate(trainings, start=1), 2):
        differing = _differing(first, second)
        if not differing:
            yield f"trials {one} and {other} are the same: change one setting of one of them clearly"
        elif all(_is_near(first, name, values) for name, values in differing.items()):
            listed = ", ".join(f"{name} {a:g} and {b:g}" for name, (a, b) in differing.items())
            yield f"trials {one} and {other} are too alike ({listed}): use factors of about two"


def _differing(first: TrainingPlan, second: TrainingPlan) -> dict[str, tuple[Any, Any]]:
    one, other = first.effective(), second.effective()
    return {
        name: (one.get(name), other.get(name))
        for name in sorted(one.keys() | other.keys())
        if one.get(name) != other.get(name)
    }


def _is_near(training: TrainingPlan, name: str, values: tuple[Any, Any]) -> bool:
    """Whether two values of a setting are numbers that hardly differ."""
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return False
    low, high = sorted(values)
    if _may_be_zero(training, name):
        return bool(high - low < _NEAR)
    return bool(low > 0 and high / low < ALIKE)


def _may_be_zero(training: TrainingPlan, name: str) -> bool:
    """Whether a setting lies in [0, 1], zero included."""
    settings, field = training.settings_of(name)
    bounds = type(settings).model_json_schema()["properties"].get(field, {})
    return bool(bounds.get("minimum") == 0 and bounds.get("maximum", 2) <= 1)


def _repeated(recipes: Recipes, trainings: Sequence[TrainingPlan], tried: Sequence[Tried]) -> Iterator[str]:
    known = [(past.experiment, past.recipe, _settings(past.training)) for past in tried]
    for number, training in enumerate(trainings, start=1):
        if len(training.stages) > 1:
            continue  # what was tried is known with one recipe only
        recipe, settings = recipes.get(training.stage.recipe), _settings(training)
        earlier = [experiment for experiment, *past in known if past == [recipe, settings]]
        if earlier:
            yield (
                f"trial {number} repeats {earlier[0]}: the same recipe and training; its score is known, "
                "change one of the two"
            )


def _settings(training: TrainingPlan) -> dict[str, Any]:
    """All settings that have an effect, without the name of the recipe: recipes are compared by content."""
    return {name: value for name, value in training.effective().items() if name != "recipe"}
