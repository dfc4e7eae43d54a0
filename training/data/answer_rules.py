"""What a recipe may write as answers by steps that write the same values whatever a row holds."""

from __future__ import annotations

from ...errors import PlanError
from ...evaluation.task import Task
from .recipe import DataRecipe


def refuse_written_answers(recipe: DataRecipe, task: Task) -> None:
    """Raise PlanError for a recipe that writes answers of its own choice by steps that make labels.

    Labels are the task's choices. Without choices they are one set for the whole recipe: with a set for each filter,
    a recipe would write an answer for each row. Row programs can do that; their rows count as synthetic.
    """
    if task.choices:
        return  # rendering leaves out rows with other answers
    written = [
        (step.op, column, values) for step in recipe.all_steps for column, values in step.constants().items()
    ]
    mend = "make answers from the row's columns by a compute step"
    for op, column, values in written:
        if column in task.prompt.answer_fields and task.rating_column is None:
            raise PlanError(
                f"{op} writes {values[0]!r} into '{column}', but the task has no choices and no ratings: {mend}"
            )
        first = written[0][2]
        if values != first:
            raise PlanError(
                f"{op} writes {values[0]!r} and another step {first[0]!r}; without choices in the task all labels "
                f"of a recipe are the same: {mend}"
            )
