"""Edits of a data recipe that keep it valid. An edit changes its own step and keeps all others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from ....evaluation.task import Task
from ....training.data.expected_rows import stream_flow
from ....training.data.operators.balance import Balance
from ....training.data.operators.dedup import Dedup
from ....training.data.operators.threshold import Threshold
from ....training.data.recipe import DataRecipe, Step, Stream
from ....training.data.row_table import Scalar
from ..protocol import Distribution, SourceNotes

_Step = TypeVar("_Step", bound=Step)


def answer_column(task: Task) -> str:
    """The column of the answer: the field in the prompt's answer if it is one, else the task's `answer_column`."""
    fields = sorted(task.prompt.answer_fields)
    return fields[0] if len(fields) == 1 else task.answer_column


def example_columns(task: Task, columns: Sequence[str]) -> tuple[str, ...]:
    """The columns that identify an example: those of the question and, without choices, of the answer."""
    fields = task.prompt.question_fields if task.choices else task.prompt.fields
    return tuple(column for column in columns if column in fields)


def margin(rating: Distribution, centre: float, share: float) -> float:
    """The largest distance from the centre within which at most `share` of the rows are rated."""
    width, step = 0.0, (rating.high - rating.low) / 80
    while share > 0 < step and rating.share(centre - width - step, centre + width + step) <= share:
        width += step
    return width


def rating_labels(task: Task) -> tuple[Scalar, Scalar]:
    """The answers for a low and a high rating: 'negative' and 'positive' if the task has them, else its first and last
    choice."""
    usual = Threshold(column="rating")
    if task.choices is None or {usual.low, usual.high} <= set(task.choices):
        return usual.low, usual.high
    return task.choices[0], task.choices[-1]


def rating_centre(rating: Distribution) -> float:
    """The middle of a rating scale: 0 if ratings have both signs, else the mean of its ends."""
    return 0.0 if rating.low < 0 < rating.high else round((rating.low + rating.high) / 2, 3)


def is_rated(task: Task, source: SourceNotes) -> bool:
    """Whether the answer must be derived from the source's ratings."""
    return source.rating is not None and answer_column(task) not in source.columns


def is_usable(task: Task, source: SourceNotes) -> bool:
    """Whether the source has all columns of the prompt, or its answer can be derived from ratings."""
    missing = task.prompt.fields - set(source.columns)
    return source.rows > 0 and (not missing or (missing == {answer_column(task)} and is_rated(task, source)))


def new_stream(task: Task, source: SourceNotes, middle: float = 0.0) -> Stream:
    """A source with its standard steps: label from rating, deduplication, and, if they are uneven, balanced answers.

    `middle` is the share of rows, rated nearest to the middle, that is left out.
    """
    steps: list[Step] = []
    if is_rated(task, source) and source.rating is not None and task.rating_column is not None:
        low, high = rating_labels(task)
        centre = rating_centre(source.rating)
        width = margin(source.rating, centre, middle)
        steps.append(
            Threshold(
                column=task.rating_column,
                into=answer_column(task),
                below=round(centre - width, 3),
                above=round(centre + width, 3),
                low=low,
                high=high,
            )
        )
    if columns := example_columns(task, source.columns):
        steps.append(Dedup(columns=columns))
    stream = Stream(source=source.name, steps=tuple(steps))
    balance = Balance(column=answer_column(task))
    if task.choices is not None and removed_share(balance, stream, source):
        stream = stream.model_copy(update={"steps": (*steps, balance)})
    return stream


def removed_share(step: Step, stream: Stream, source: SourceNotes) -> float:
    """The estimated share of a stream's rows that the step would remove."""
    before = stream_flow(stream, source)
    return 1 - step.estimate(before).rows / before.rows if before.rows else 0.0


def with_step(steps: Sequence[Step], new: Step) -> tuple[Step, ...]:
    """The steps with `new` in place of the step that it replaces, else inserted at its `position`."""
    kept = [step for step in steps if not new.replaces(step)]
    place = next((i for i, step in enumerate(steps) if new.replaces(step)), None)
    if place is None:
        place = next((i for i, step in enumerate(kept) if step.position > new.position), len(kept))
    return (*kept[:place], new, *kept[place:])


def without_step(steps: Sequence[Step], kind: type[Step]) -> tuple[Step, ...]:
    """The steps without those of that kind."""
    return tuple(step for step in steps if not isinstance(step, kind))


def edit_streams(recipe: DataRecipe, edit: Callable[[Stream], tuple[Step, ...]]) -> DataRecipe:
    """The recipe with each stream's steps replaced by `edit(stream)`."""
    streams = tuple(stream.model_copy(update={"steps": edit(stream)}) for stream in recipe.streams)
    return recipe.model_copy(update={"streams": streams})


def find(steps: Sequence[Step], kind: type[_Step]) -> list[_Step]:
    """The steps of that kind."""
    return [step for step in steps if isinstance(step, kind)]
