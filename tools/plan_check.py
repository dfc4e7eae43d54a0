"""The plan check: everything that is wrong with a plan, in one list, before it is handed in.

Only what arithmetic can tell: whether the recipe can be carried out, whether trials differ enough to teach
something, whether a configuration was tried before, and whether it fits the budget of examples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Annotated, Any

from langchain_core.tools import BaseTool
from pydantic import BaseModel, Field, WithJsonSchema

from ..errors import TrexError
from ..evaluation.task import Task
from ..training.data.build import MAX_ROWS, preview
from ..training.data.recipe import DataRecipe
from ..training.data.render import Contents, describe
from ..training.plan import TrainingPlan
from .agent_tool import agent_tool
from .excerpt import brief, fitting
from .guide import training_guide
from .preview import RecipeArgument
from .untrusted import quoted

ALIKE = 1.25
"""Two values of a setting whose ratio is smaller can't be told apart by a noisy score."""

FEWEST_STEPS = 5
"""Optimiser steps below which hardly anything is learnt."""

_SPARE = 1.05  # epochs and shares are rounded: a little over the budget is no fault
_NEAR = 0.02  # settings that lie in [0, 1] and may be zero: their difference counts, not their ratio
_ABSOLUTE = {"warmup_ratio", "weight_decay", "lora_dropout"}

PlanCheck = Callable[[DataRecipe, Sequence[TrainingPlan]], Sequence[str]]


@dataclass(frozen=True)
class Tried:
    """A configuration that was run before, in the experiment of that id."""

    experiment: str
    recipe: DataRecipe
    training: TrainingPlan


class PlanArguments(BaseModel):
    """Input of the tool `check_plan`."""

    recipe: RecipeArgument = Field(description="The plan's whole data recipe, as for preview_recipe")
    trainings: Annotated[
        list[TrainingPlan], WithJsonSchema({"type": "array", "items": {"type": "object"}})
    ] = Field(
        min_length=1,
        max_length=8,
        description="An object of training settings for every trial; what is left out has its default: "
        + training_guide(),
    )


def plan_check_tool(check: PlanCheck) -> BaseTool:
    """The tool `check_plan`, around whatever says what is wrong with a plan, e.g. `plan_problems`."""

    def check_plan(recipe: DataRecipe, trainings: Sequence[TrainingPlan]) -> str:
        problems = check(recipe, trainings)
        if not problems:
            return "nothing is wrong with this plan"
        listed = [f"{number}. {brief(problem, 600)}" for number, problem in enumerate(problems, start=1)]
        return quoted(fitting([f"{len(problems)} to change:", *listed]), "the check of the plan")

    return agent_tool(
        check_plan,
        "Check a plan before handing it in. Lists all that is wrong: a recipe that cannot be "
        "carried out, trials that are the same or too alike, configurations that were tried before, steps "
        "beyond the budget, rows longer than max_length.",
        PlanArguments,
    )


def plan_problems(
    recipe: DataRecipe,
    trainings: Sequence[TrainingPlan],
    task: Task,
    *,
    examples: int,
    trials: int | None = None,
    tried: Sequence[Tried] = (),
) -> list[str]:
    """What is wrong, a sentence each; none if the plan will do.

    `examples` is what one trial may consume (rows × epochs), `trials` how many are wanted, `tried` what was
    run before. Sources are read and rows rendered, nothing is written.
    """
    problems = []
    if trials is not None and len(trainings) != trials:
        problems.append(f"{len(trainings)} trials are planned, {trials} are wanted")
    problems += _alike(trainings)
    problems += _repeated(recipe, trainings, tried)
    try:
        contents = describe(preview(recipe, task, MAX_ROWS).rows)
    except TrexError as error:
        return [f"the recipe cannot be carried out: {error}", *problems]
    for number, training in enumerate(trainings, start=1):
        problems += [f"trial {number}: {fault}" for fault in _faults(training, contents, examples)]
    return problems


def effective(training: TrainingPlan) -> dict[str, Any]:
    """The settings that have an effect: those that others switch off are left out."""
    settings = training.model_dump()
    if training.max_steps is not None:
        del settings["epochs"]
    if training.lr_scheduler_type == "constant":
        del settings["warmup_ratio"]
    settings["neftune_noise_alpha"] = training.neftune_noise_alpha or None
    settings["target_modules"] = sorted(set(training.target_modules))
    return settings


def _alike(trainings: Sequence[TrainingPlan]) -> Iterator[str]:
    for (one, first), (other, second) in combinations(enumerate(trainings, start=1), 2):
        differing = _differing(first, second)
        if not differing:
            yield f"trials {one} and {other} are the same: change one setting of one of them clearly"
        elif all(_is_near(name, values) for name, values in differing.items()):
            told = ", ".join(f"{name} {a:g} and {b:g}" for name, (a, b) in differing.items())
            yield f"trials {one} and {other} are too alike ({told}): use factors of about two"


def _differing(first: TrainingPlan, second: TrainingPlan) -> dict[str, tuple[Any, Any]]:
    one, other = effective(first), effective(second)
    return {
        name: (one.get(name), other.get(name))
        for name in sorted(one.keys() | other.keys())
        if one.get(name) != other.get(name)
    }


def _is_near(name: str, values: tuple[Any, Any]) -> bool:
    """Whether two values of a setting are numbers that hardly differ."""
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return False
    low, high = sorted(values)
    if name in _ABSOLUTE:
        return bool(high - low < _NEAR)
    return bool(low > 0 and high / low < ALIKE)


def _repeated(recipe: DataRecipe, trainings: Sequence[TrainingPlan], tried: Sequence[Tried]) -> Iterator[str]:
    known = [(past.experiment, effective(past.training)) for past in tried if past.recipe == recipe]
    for number, training in enumerate(trainings, start=1):
        settings = effective(training)
        earlier = [experiment for experiment, past in known if past == settings]
        if earlier:
            yield (
                f"trial {number} repeats {earlier[0]}: the same recipe and training; its score is known, "
                "change one of the two"
            )


def _faults(training: TrainingPlan, contents: Contents, examples: int) -> Iterator[str]:
    steps = training.total_steps(contents.rows)
    step = training.batch_size * training.gradient_accumulation
    # The last step of a pass may be a smaller one, so passes are counted in rows and not in steps.
    used = steps * step if training.max_steps is not None else round(contents.rows * training.epochs)
    if used > examples * _SPARE:
        name = "epochs" if training.max_steps is None else "max_steps"
        fits = (
            f"{examples / contents.rows:.3g}" if training.max_steps is None else f"{max(1, examples // step)}"
        )
        yield (
            f"{used} examples would be consumed ({contents.rows} rows, {steps} steps of {step}), {examples} "
            f"are allowed: set {name} to {fits}, or take fewer rows"
        )
    if steps < FEWEST_STEPS:
        yield f"only {steps} optimiser steps of {step} rows: lower batch_size, or take more rows or epochs"
    if contents.words.max > training.max_length:
        yield (
            f"the longest row has {contents.words.max} words, more than max_length {training.max_length} "
            "tokens: raise max_length, or filter by max_words"
        )
