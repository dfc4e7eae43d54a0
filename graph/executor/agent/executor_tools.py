"""What the Executor's model is told of a preparation, and its tools `build_recipe` and `read_log`."""

from __future__ import annotations

import os
from pathlib import Path

from langchain_core.tools import BaseTool
from pydantic import BaseModel, Field

from ....errors import PlanError
from ....files import canonical_json, read_jsonl
from ....tools.agent_tool import agent_tool
from ....tools.excerpt import brief, cut, fitting
from ....tools.untrusted import quoted
from ....training.data.build import TRAIN
from ....training.data.recipe import DataRecipe
from ....training.methods.protocol import MAIN, RecipeName
from ...tree.experiment import ExperimentPlan
from ..preparation import Preparation
from ..protocol import Attempt
from .executor_schemas import Recipe

ROWS_SHOWN = 4
LAST_LINES = 40
_READ = 256 * 1024  # bytes of a log's end
_LINE = 500
_CELL = 600


def report(preparation: Preparation) -> str:
    """Rows after each step, the gate's verdict, and how each trial stands."""
    lines = [f"repaired: {repair}" for repair in preparation.repairs]
    several = len(preparation.datasets) > 1
    for name, card in preparation.datasets.items():
        of = f" of the recipe {name}" if several else ""
        lines += [f"rows after each step{of}:", *(f"  {step}" for step in card.steps), card.summary]
        if found := card.contamination:
            lines.append(f"rows that repeat dev or test items: {found.matches} of {found.checked_rows}")
    if preparation.failure:
        lines.append(f"cannot be carried out: {brief(preparation.failure, 1000)}")
    else:
        lines += [
            f"trial {trial.index + 1} ({brief(trial.note, 80)}): "
            + (brief(trial.message, 400) if trial.status == "failed" else "ready")
            for trial in preparation.trials
        ]
    return quoted(fitting(lines), "the build of the recipe")


def built_rows(dataset: Path) -> str:
    """A few rows of a built data set, spread over the file, as the conversations that are trained on."""
    rows = list(read_jsonl(dataset / TRAIN))
    count = min(ROWS_SHOWN, len(rows))
    lines = []
    for number in range(count):
        row = rows[number * len(rows) // count]
        turns = [*row["prompt"], *row["completion"]]
        lines += [
            f"row {number + 1}:",
            *(f"  {turn['role']}: {cut(turn['content'], _CELL)}" for turn in turns),
        ]
    return quoted(fitting(lines), "rows that were built")


class BuildArguments(BaseModel):
    """Input of the tool `build_recipe`."""

    name: RecipeName = Field(default=MAIN, description="The name that the recipe has in the plan")
    recipe: Recipe = Field(description="The whole recipe, as for preview_recipe")


def build_tool(plan: ExperimentPlan, attempt: Attempt) -> BaseTool:
    """The tool `build_recipe`: another recipe for this plan, built and checked; it decides nothing."""

    def build_recipe(recipe: DataRecipe, name: str = MAIN) -> str:
        if name not in plan.recipes:
            raise PlanError(f"the plan has no recipe {name!r}: it has {', '.join(plan.recipes)}")
        return report(attempt(plan.with_recipe(name, recipe)))

    return agent_tool(
        build_recipe,
        "Build a recipe's data set, compare it with dev and test, and check every trial of the plan "
        "against it. Says what stands in the way.",
        BuildArguments,
    )


class LogArguments(BaseModel):
    """Input of the tool `read_log`."""

    contains: str | None = Field(
        default=None, min_length=1, max_length=100, description="Only lines with this text (any case)"
    )
    last: int = Field(default=LAST_LINES, ge=1, le=200, description="So many lines from the end")


def log_tool(log: Path) -> BaseTool:
    """The tool `read_log`, on the log of one trial and no other file."""

    def read_log(contains: str | None = None, last: int = LAST_LINES) -> str:
        return log_end(log, last, contains)

    return agent_tool(
        read_log,
        "Lines of the failed training's log, the last ones or those that contain a text.",
        LogArguments,
    )


def log_end(log: Path, last: int = LAST_LINES, contains: str | None = None) -> str:
    """The last lines of a log, as data; of a long one only the end is read."""
    if not log.is_file():
        return "there is no log"
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _READ), os.SEEK_SET)
        lines = file.read(_READ).decode("utf-8", errors="replace").splitlines()
    wanted = [line for line in lines if contains is None or contains.casefold() in line.casefold()]
    shown = [brief(line, _LINE) for line in wanted if line.strip()][-last:]
    # The end of a log says most: what doesn't fit is left out at its beginning.
    while sum(map(len, shown)) + len(shown) > 7000:
        shown = shown[1:]
    return quoted("\n".join(shown) or "no such line", "the training's log")


def plan_text(plan: ExperimentPlan) -> str:
    """The plan as the Executor's model reads it, recipes as JSON."""
    trials = [
        f"trial {number}: {brief(trial.note, 120)}: "
        + canonical_json(trial.training.model_dump(mode="json", exclude_defaults=True))
        for number, trial in enumerate(plan.trials, start=1)
    ]
    recipes = [
        f"recipe {name}: {canonical_json(recipe.model_dump(mode='json', exclude_none=True))}"
        for name, recipe in plan.recipes.items()
    ]
    return "\n".join(
        [
            f"direction: {plan.strategy}, {brief(plan.direction, 80)}",
            f"hypothesis: {cut(plan.hypothesis, 1500)}",
            *recipes,
            *trials,
        ]
    )
