"""Repair of a recipe that leaves no rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ...training.data.recipe import DataRecipe, Step


@dataclass(frozen=True)
class RecipeRepair:
    """A changed recipe, and the sentence that reports it."""

    recipe: DataRecipe
    report: str


def repair_recipe(recipe: DataRecipe) -> RecipeRepair | None:
    """The recipe with its most selective step relaxed; None if no step can be relaxed.

    Among equally selective steps the last one: a common step before one of the last stream.
    """
    for order in sorted({step.relax_order for _, step in _steps(recipe) if step.relax_order is not None}):
        for stream, step in _steps(recipe):
            relaxed = step.relaxed()
            if step.relax_order == order and relaxed != step:
                where = "the common steps" if stream is None else f"source '{recipe.streams[stream].source}'"
                change = "removed" if relaxed is None else "made less selective"
                report = f"no rows were left after the {step.op} step of {where}: the step was {change}"
                return RecipeRepair(_changed(recipe, stream, step, relaxed), report)
    return None


def _steps(recipe: DataRecipe) -> Iterator[tuple[int | None, Step]]:
    """All steps in reverse order, each with the index of its stream; None for common steps."""
    yield from ((None, step) for step in reversed(recipe.steps))
    for index in reversed(range(len(recipe.streams))):
        yield from ((index, step) for step in reversed(recipe.streams[index].steps))


def _changed(recipe: DataRecipe, stream: int | None, step: Step, relaxed: Step | None) -> DataRecipe:
    """The recipe with that step replaced by `relaxed`, or removed."""

    def without(steps: tuple[Step, ...]) -> tuple[Step, ...]:
        kept = (relaxed if each is step else each for each in steps)
        return tuple(each for each in kept if each is not None)

    if stream is None:
        return recipe.model_copy(update={"steps": without(recipe.steps)})
    streams = list(recipe.streams)
    streams[stream] = streams[stream].model_copy(update={"steps": without(streams[stream].steps)})
    return recipe.model_copy(update={"streams": tuple(streams)})
