"""Carries out a recipe: loads its streams, runs their steps, mixes them, runs the common steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, Field

from ...errors import PlanError
from ...evaluation.task import Task
from ...evaluation.usable_rows import Dropped
from ..causes import Cause
from .answer_rules import refuse_written_answers
from .mix import mix
from .models.model_access import ModelAccess
from .operators.protocol import OperatorContext
from .recipe import DataRecipe, Step
from .row_lineage import Followed, run_followed
from .row_table import STREAM, choose, with_column
from .sources import read_source

if TYPE_CHECKING:
    from datasets import Dataset

MAX_ROWS = 50_000


class EmptyDataset(PlanError):
    """A recipe that leaves no rows. `step` is the step that removed the last ones."""

    cause: Cause = "empty"

    def __init__(self, step: str, before: int) -> None:
        super().__init__(f"empty after {step}: it removed all {before} rows; relax the step or remove it")
        self.step = step


class ModelNeeded(PlanError):
    """A recipe was carried out without models up to its first step that uses one, which the message names."""


class StepCount(BaseModel, frozen=True):
    """The number of rows after one step."""

    stream: str = Field(description="The source's name, or 'mix' for the mix and the common steps")
    where: str = Field(description="The step's place in the recipe, e.g. 'streams[0].steps[1] threshold'")
    op: str
    rows: int
    dropped: dict[str, int] = Field(default={}, description="Rows that the step dropped, by reason")
    examples: dict[str, str] = Field(default={}, description="An example of each reason, where there is one")
    note: str = Field(default="", description="What a model answered, and in a preview what it would take")

    @property
    def text(self) -> str:
        """In one line, such as 'movie: where → 40 (12 test is false)'."""
        reasons = ", ".join(f"{n} {reason}" for reason, n in self.dropped.items() if reason != self.op)
        told = "; ".join(filter(None, [reasons, self.note]))
        return f"{self.stream}: {self.op} → {self.rows}" + (f" ({told})" if told else "")


Watch = Callable[[StepCount, "Dataset"], None]
"""Is called with the rows after each step."""


@dataclass
class Execution:
    """A recipe that is carried out on a task; `steps` are the steps so far."""

    task: Task
    watch: Watch = lambda count, rows: None
    models: ModelAccess | None = None
    allow_python: bool = False
    steps: list[StepCount] = field(default_factory=list)
    unusable: list[Dropped] = field(default_factory=list)

    def rows(self, recipe: DataRecipe) -> Dataset:
        """The mixed rows after the last step.

        Raises PlanError for a recipe that does not fit the rows, EmptyDataset if it leaves none.
        """
        refuse_written_answers(recipe, self.task)
        streams = []
        for place, stream in enumerate(recipe.streams):
            where = f"streams[{place}]"
            try:
                source = read_source(self.task, stream.source)
            except PlanError as error:
                raise PlanError(f"{where}: {error}") from None
            self.unusable += source.counts.dropped
            rows = with_column(source.rows, STREAM, [stream.source] * len(source.rows))
            self._count(StepCount(stream=stream.source, where=where, op="load", rows=len(rows)), rows)
            streams.append(self._run(stream.steps, rows, stream.source, f"{where}."))
        weights, caps = zip(*((stream.weight, stream.max_rows) for stream in recipe.streams), strict=True)
        mixed = mix(streams, weights, recipe.rows, caps, recipe.temperature)
        if len(mixed) == 0:
            raise self._empty()
        left_out = sum(map(len, streams)) - len(mixed)
        dropped = {"not in the mix": left_out} if left_out else {}
        self._count(StepCount(stream="mix", where="mix", op="mix", rows=len(mixed), dropped=dropped), mixed)
        mixed = self._run(recipe.steps, mixed, "mix", "")
        if len(mixed) == 0:
            raise self._empty()
        if len(mixed) > MAX_ROWS:
            raise PlanError(
                f"the recipe keeps {len(mixed)} rows, {MAX_ROWS} are allowed: set `rows` or add a sample"
            )
        return mixed

    def _run(self, steps: Sequence[Step], rows: Dataset, stream: str, prefix: str) -> Dataset:
        for place, step in enumerate(steps):
            where = f"{prefix}steps[{place}] {step.op}"
            scope: Literal["stream", "mix"] = "stream" if prefix else "mix"
            context = OperatorContext(
                scope, task=self.task, models=self.models, allow_python=self.allow_python
            )
            try:
                followed = self._followed(step, rows, context)
            except ModelNeeded as error:
                raise ModelNeeded(f"{where}: {error}") from None
            except PlanError as error:
                raise PlanError(f"{where}: {error}") from None
            rows = followed.rows
            examples = {reason: text for reason, text in context.dropped.examples.items() if text}
            count = StepCount(
                stream=stream,
                where=where,
                op=step.op,
                rows=len(rows),
                dropped=followed.dropped,
                examples=examples,
                note="; ".join(context.notes),
            )
            self._count(count, rows)
        return rows

    def _followed(self, step: Step, rows: Dataset, context: OperatorContext) -> Followed:
        """Run a step. In a preview one that uses a model sees a few rows, and a note says what all would take."""
        models, choice = self.models, step.model_choice()
        if choice is None:
            return run_followed(step, rows, context, len(self.steps))
        if models is None:
            calls = len(rows) * getattr(step, "n", 1)
            raise ModelNeeded(
                f"{len(rows):,} rows reach this step: {calls:,} calls of the model '{choice.model}'"
            )
        before, everything = models.use, len(rows)
        if models.trial_rows is not None:
            rows = choose(rows, models.trial_rows, "preview")
        followed = run_followed(step, rows, context, len(self.steps))
        if models.trial_rows is not None:
            context.notes.append((models.use - before).estimated(everything, len(rows)))
        return followed

    def _count(self, count: StepCount, rows: Dataset) -> None:
        self.steps.append(count)
        self.watch(count, rows)

    def _empty(self) -> EmptyDataset:
        """The error that names the first step that removed all rows."""
        before = 0
        for step in self.steps:
            if step.rows == 0 and step.op != "load" and before:
                return EmptyDataset(step.where, before)
            before = step.rows
        raise AssertionError("no step removed the last rows")
