"""The tool `preview_recipe`: shows the rows that a recipe would build, without building or storing them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from langchain_core.tools import BaseTool
from pydantic import BeforeValidator, Field, WithJsonSchema

from ..evaluation.task import Task
from ..training.data.build import Preview, preview
from ..training.data.operators import remedy
from ..training.data.recipe import DataRecipe
from ..training.data.recipe_execution import ModelNeeded, StepCount
from ..training.data.render import Contents
from .agent_tool import agent_tool
from .excerpt import brief, cut, fitting
from .parent_changes import ParentConfiguration, parsed_recipe
from .untrusted import quoted

EXAMPLES = 3

_RECIPE = Field(description="A whole recipe, or a change of the parent's if there is one")

_TURN = 900  # characters of one turn of a conversation
_ANSWERS = 12


RecipeArgument = Annotated[DataRecipe, BeforeValidator(parsed_recipe), WithJsonSchema({"type": "object"})]


def preview_tool(
    task: Task, parent: ParentConfiguration | None = None, allow_python: bool = False
) -> BaseTool:
    """The tool `preview_recipe`. It writes nothing and does not run the contamination gate.

    With a `parent` the recipe may be written as a change of the parent's.

    Raises PlanError for a recipe that cannot be executed, InputError for an error in the task's files.
    """

    def preview_recipe(recipe: Annotated[RecipeArgument, _RECIPE]) -> str:
        counts: list[StepCount] = []
        try:
            told = _summary(
                preview(recipe, task, lambda count, rows: counts.append(count), allow_python=allow_python)
            )
        except ModelNeeded as needed:
            told = fitting([*_steps(counts), f"then a model makes the rows; {needed}"])
        return quoted(told, "a preview of the recipe's rows")

    return agent_tool(
        preview_recipe,
        "See what a recipe would build: rows after each step, rows from each source, answers and "
        "their counts, lengths, repeated rows, and three rows as the conversations that would be trained on. "
        "Says what is wrong with a recipe that cannot be carried out.",
        {} if parent is None else {"recipe": Annotated[parent.recipe_argument(), _RECIPE]},
    )


def _summary(found: Preview) -> str:
    rows, report = found.rows, found.report
    lines = _steps(report.steps)
    lines += _counted(report.contents)
    shown = min(EXAMPLES, len(rows))
    for number, row in enumerate((rows[place * len(rows) // shown] for place in range(shown)), start=1):
        lines.append(f"example {number}, from {row['stream']}:")
        turns = [*row["prompt"], *row["completion"]]
        lines += [f"  {turn['role']}: {cut(turn['content'], _TURN)}" for turn in turns]
    return fitting(lines)


def _steps(steps: Sequence[StepCount]) -> list[str]:
    named = ((step.where if step.op != "load" else f"load {step.stream}", step.rows) for step in steps)
    return ["rows after each step:", *(f"  {where}: {rows}" for where, rows in named)]


def _counted(contents: Contents) -> list[str]:
    shown = list(contents.answers.items())[:_ANSWERS]
    answers = ", ".join(f"{brief(text, 60)!r} {count}" for text, count in shown)
    if contents.distinct_answers > _ANSWERS:
        answers = f"{contents.distinct_answers} different; the most frequent: {answers}"
    words = contents.words
    lines = [
        f"rows: {contents.rows} ({', '.join(f'{name} {n}' for name, n in contents.streams.items())})",
        f"answers: {answers}",
        f"words of a row: median {words.p50}, 95 % up to {words.p95}, longest {words.max}",
    ]
    if contents.repeated:
        lines.append(f"{contents.repeated} rows repeat another row: {remedy('rows repeated')}")
    return lines
