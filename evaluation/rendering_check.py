"""Rows of a task as its base model sees them: lengths, what its chat template refuses, how rows look."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import InputError
from .base_models import resolve_model
from .data_files import file_name, printable
from .rendering import Renderer, TokenRow, open_renderer
from .splits import dev_items
from .task import Task
from .usable_rows import answered


@dataclass(frozen=True)
class RowLengths:
    """Rows in tokens: the length of each prompt, of each answer, and why others cannot be rendered."""

    prompts: list[int]
    answers: list[int]
    refused: list[str]


class RowRendering:
    """Renders rows of a task for its base model. Raises InputError for a model that cannot be had or rendered."""

    def __init__(self, task: Task) -> None:
        self._task = task
        unlimited = task.rendering.model_copy(update={"max_prompt_tokens": None})
        self._renderer: Renderer = open_renderer(resolve_model(task.base_model), unlimited)

    @property
    def notes(self) -> list[str]:
        """What the chat template does that a user would not expect."""
        return self._renderer.notes

    def measure(self, rows: Sequence[Mapping[str, Any]]) -> RowLengths:
        """The lengths of rows in tokens. A row without the columns of the answer has a prompt only."""
        found = self._renderer.rows_or_errors([answered(self._task, row) for row in rows])
        rendered = [(row, part) for row, part in zip(rows, found, strict=True) if isinstance(part, TokenRow)]
        wanted = self._task.prompt.answer_fields
        return RowLengths(
            prompts=[part.last for _, part in rendered],
            answers=[self._renderer.answer_tokens(part) for row, part in rendered if wanted <= row.keys()],
            refused=[str(error) for error in found if isinstance(error, InputError)],
        )

    def example(self, row: Mapping[str, Any]) -> dict[str, str]:
        """The text before a row's answer, and the answer with its end, from its tokens; of a row refused, why."""
        [found] = self._renderer.rows_or_errors([answered(self._task, row)])
        if isinstance(found, InputError):
            return {"prompt": "", "answer": str(found)}
        return {
            "prompt": self._renderer.text(found.ids[: found.last]),
            "answer": self._renderer.text(found.ids[found.last :]),
        }


def check_rendering(task: Task) -> list[str]:
    """What its author should know of how the task is rendered, a sentence each, as dev shows it.

    Raises InputError for a base model that cannot be had, and for items of dev that its chat template refuses.
    """
    rows, rendering = [item.row for item in dev_items(task)], RowRendering(task)
    tokens = rendering.measure(rows)
    if tokens.refused:
        raise InputError(f"{file_name(task.dev)}: {refusal(task, tokens.refused, len(rows))}")
    return [*rendering.notes, *limit_notes(task, tokens)]


def limit_notes(task: Task, tokens: RowLengths) -> Iterator[str]:
    """What of the rows is longer than the task's limits, a sentence each."""
    limits = task.generation
    if cut := sum(length > limits.max_prompt_tokens for length in tokens.prompts):
        yield (
            f"{cut} of {len(tokens.prompts)} prompts of dev lose their middle: generation.max_prompt_tokens is "
            f"{limits.max_prompt_tokens}, the longest prompt has {max(tokens.prompts)} tokens"
        )
    long = sum(length > limits.max_new_tokens for length in tokens.answers)
    if long and not task.choices:
        yield (
            f"{long} of {len(tokens.answers)} answers of dev cannot be generated: generation.max_new_tokens is "
            f"{limits.max_new_tokens}, the longest answer has {max(tokens.answers)} tokens"
        )


def refusal(task: Task, refused: Sequence[str], of: int) -> str:
    """One line on rows that cannot be rendered."""
    return (
        f"{len(refused)} of {of} rows cannot be rendered for {task.base_model} ({printable(refused[0], 200)}); take "
        "them out, choose another base model, or set prompt.plain"
    )
