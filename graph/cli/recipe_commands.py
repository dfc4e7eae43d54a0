"""`trex recipe`: look at a data recipe before anything is trained on it."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...errors import InputError
from .foreground import out

if TYPE_CHECKING:
    from ...training.data.recipe import DataRecipe

app = typer.Typer(help="Data recipes: schema, check, preview, build, stats, diff.")

RecipeFile = Annotated[Path, typer.Argument(help="A recipe in YAML", metavar="RECIPE")]
TaskName = Annotated[str, typer.Argument(help="A task's name, or the path of a task file", metavar="TASK")]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON")]
Llm = Annotated[str | None, typer.Option("--llm", help="PROVIDER:MODEL for steps with `model: llm`")]
LlmBudget = Annotated[str | None, typer.Option("--llm-budget", help="Of the chat model: 200k tokens or $2")]
AllowPython = Annotated[
    bool, typer.Option("--allow-python", help="Recipes may run code in Python, in a sandbox")
]
Smoke = Annotated[bool, typer.Option("--smoke", help="With the task's small sample of data")]


@app.command()
def schema(
    operator: Annotated[str | None, typer.Argument(help="Only this operator")] = None,
    compact: Annotated[
        bool, typer.Option("--compact", help="A line for each operator, as agents read it")
    ] = False,
) -> None:
    """Print the JSON schema of recipes, or of one operator."""
    from ...tools.guide import recipe_guide
    from ...training.data.operators import OPERATORS, operators
    from ...training.data.recipe import DataRecipe

    if operator is not None:
        OPERATORS.check(operator)
        _print_json(operators()[operator].model_json_schema())
    elif compact:
        sys.stdout.write(recipe_guide(allow_python=True) + "\n")
    else:
        _print_json(DataRecipe.model_json_schema())


@app.command()
def check(
    recipe: RecipeFile,
    task: TaskName,
    as_json: AsJson = False,
    smoke: Smoke = False,
    allow_python: AllowPython = False,
) -> None:
    """Carry a recipe out, write nothing, and say what it makes or what is wrong.

    Of a recipe that uses a model, the steps before, and how many calls it would make.
    """
    from ...training.data.recipe_execution import ModelNeeded
    from .recipe_view import preview_of

    try:
        report = preview_of(_read(recipe), task, smoke, allow_python=allow_python).report
    except ModelNeeded as needed:
        if as_json:
            _print_json({"model_needed": str(needed)})
        else:
            out.print(f"the recipe can be carried out up to a model: {needed}", markup=False, soft_wrap=True)
        return
    if as_json:
        _print_json(report.model_dump(mode="json"))
        return
    out.print(f"the recipe can be carried out: {report.summary}", markup=False, soft_wrap=True)


@app.command()
def preview(
    recipe: RecipeFile,
    task: TaskName,
    rows: Annotated[int, typer.Option(min=0, max=20, help="Rows shown after every step")] = 1,
    as_json: AsJson = False,
    smoke: Smoke = False,
    llm: Llm = None,
    llm_budget: LlmBudget = None,
    allow_python: AllowPython = False,
) -> None:
    """Show the number of rows after every step, why rows were dropped, and samples.

    Steps that use a model are tried on a few rows, and what they would take for all is estimated.
    """
    from .recipe_models import models_for
    from .recipe_view import preview_of, print_preview

    open_models = partial(models_for, llm=llm, llm_budget=llm_budget, trial=True)
    found = preview_of(_read(recipe), task, smoke, rows, open_models, allow_python)
    if as_json:
        _print_json(found.as_json)
    else:
        print_preview(out, found)


@app.command()
def build(
    recipe: RecipeFile,
    task: TaskName,
    out_dir: Annotated[Path, typer.Option("--out", help="The folder of data sets")] = Path("datasets"),
    as_json: AsJson = False,
    smoke: Smoke = False,
    llm: Llm = None,
    llm_budget: LlmBudget = None,
    allow_python: AllowPython = False,
) -> None:
    """Write the data set into a folder named by its fingerprint. Rows are not compared with dev and test."""
    from ...training.data.build import build as build_dataset
    from ..run.task_lookup import find_task
    from .recipe_models import models_for

    planned, found = _read(recipe), find_task(task, smoke)
    models = models_for(planned, found, llm=llm, llm_budget=llm_budget)
    built = build_dataset(planned, found, out_dir, models=models, allow_python=allow_python)
    if as_json:
        _print_json({"folder": str(built.folder), "report": built.report.model_dump(mode="json")})
        return
    out.print(f"{built.folder}\n{built.summary}", markup=False, soft_wrap=True)


@app.command()
def stats(
    dataset: Annotated[Path, typer.Argument(help="The folder of a built data set")], as_json: AsJson = False
) -> None:
    """Show the contents of a built data set: sources, answers, lengths, repeated and computed rows, steps."""
    from ...training.data.build import BuiltDataset
    from .recipe_view import print_report

    report = BuiltDataset.open(dataset).report
    if as_json:
        _print_json(report.model_dump(mode="json"))
    else:
        print_report(out, report)


@app.command()
def diff(
    old: Annotated[Path, typer.Argument(help="A recipe in YAML")],
    new: Annotated[Path, typer.Argument(help="Another one")],
    as_json: AsJson = False,
) -> None:
    """Show what differs between two recipes."""
    from .recipe_view import recipe_changes

    changes = recipe_changes(_read(old), _read(new))
    if as_json:
        _print_json(changes)
        return
    for change in changes or ["the recipes are the same"]:
        out.print(change, markup=False, soft_wrap=True)


def _read(path: Path) -> DataRecipe:
    from ...training.data.recipe_file import recipe_from_yaml

    try:
        return recipe_from_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: {getattr(error, 'strerror', None) or 'not UTF-8 text'}") from None


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")
