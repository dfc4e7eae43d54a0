"""Building: a recipe and a task become a sealed data set, named by a fingerprint of everything that determines it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from ...errors import IntegrityError, PlanError, TrexError
from ...evaluation.task import Prompt, Task
from ...files import (
    fingerprint,
    hash_file,
    hash_folder,
    lock,
    read_json,
    write_atomic,
    write_json,
    write_jsonl,
)
from ...sealed_folder import copy, create, is_sealed
from ..causes import Cause
from .mix import mix
from .operators import operators, outside_sources
from .operators.protocol import OperatorContext
from .recipe import DataRecipe, Step
from .recipe_file import recipe_to_yaml
from .render import Contents, Row, describe, render
from .row_table import STREAM, with_column
from .sources import content_hash, load

if TYPE_CHECKING:
    from datasets import Dataset

MAX_ROWS = 50_000
TRAIN = "train.jsonl"
RECIPE = "recipe.yaml"
REPORT = "report.json"


class EmptyDataset(PlanError):
    """A recipe that leaves no rows. `step` is where they ran out."""

    cause: Cause = "empty"

    def __init__(self, step: str, before: int) -> None:
        super().__init__(f"empty after {step}: none of {before} rows is left; relax it or leave it out")
        self.step = step


class StepCount(BaseModel):
    """Rows left after one step."""

    model_config = ConfigDict(frozen=True)

    stream: str = Field(description="The source's name, or 'mix' for what all streams share")
    where: str = Field(description="The step's place in the recipe, e.g. 'streams[0].steps[1] threshold'")
    op: str
    rows: int


class BuildReport(BaseModel):
    """How a data set was made, and what it holds."""

    model_config = ConfigDict(frozen=True)

    steps: list[StepCount]
    duplicates_dropped: int
    contents: Contents


@dataclass(frozen=True)
class BuiltDataset:
    """A sealed data set on disk."""

    folder: Path
    fingerprint: str
    report: BuildReport

    @property
    def rows(self) -> int:
        return self.report.contents.rows

    @property
    def steps(self) -> list[str]:
        """Rows after each step, a line each."""
        return [f"{step.stream}: {step.op} → {step.rows}" for step in self.report.steps]

    @property
    def summary(self) -> str:
        """The data set in a line."""
        contents = self.report.contents
        sources = ", ".join(f"{name} {count}" for name, count in contents.streams.items())
        answers = f"{contents.distinct_answers} different answers"
        if contents.distinct_answers <= 6:
            answers = ", ".join(f"'{text}' {count}" for text, count in contents.answers.items())
        words = f"{contents.words.p50} words (95 %: {contents.words.p95}, longest: {contents.words.max})"
        dropped = f"{self.report.duplicates_dropped} duplicates dropped"
        return f"{contents.rows} rows from {sources}; {answers}; {words}; {dropped}"

    @classmethod
    def open(cls, folder: Path) -> BuiltDataset:
        """The data set in a folder. Raises IntegrityError if it is not there whole and unchanged."""
        if not is_sealed(folder, fingerprint=folder.name):
            raise IntegrityError(f"no intact data set in {folder}: build it again from its recipe")
        return cls(folder, folder.name, BuildReport.model_validate(read_json(folder / REPORT)))


@dataclass(frozen=True)
class Preview:
    """What a recipe would build: the first rows, and the rows after each step."""

    rows: list[Row]
    steps: list[StepCount]


def build(recipe: DataRecipe, task: Task, out_root: Path, reuse_root: Path | None = None) -> BuiltDataset:
    """The recipe's data set, in `out_root/<fingerprint>`: as it is if it lies there, taken over from
    `reuse_root`, or built; then published in `reuse_root`.

    Raises PlanError for a recipe that cannot be carried out (EmptyDataset if it leaves no rows), InputError
    for a fault of the task's files. A folder under that name is always complete.
    """
    name = recipe_fingerprint(recipe, task)
    folder = out_root / name
    with _locked(out_root):
        if not is_sealed(folder, fingerprint=name) and not (
            reuse_root and copy(reuse_root / name, folder, fingerprint=name)
        ):
            create(folder, lambda building: _write(recipe, task, building), fingerprint=name)
    if reuse_root and not is_sealed(reuse_root / name, fingerprint=name):
        with _locked(reuse_root):
            copy(folder, reuse_root / name, fingerprint=name)
    return BuiltDataset.open(folder)


def preview(recipe: DataRecipe, task: Task, n: int = 5) -> Preview:
    """The first rows of what `build` would make, with the same errors; nothing is written."""
    rows, steps = _carry_out(recipe, task)
    return Preview(list(islice(render(rows, task), n)), steps)


def recipe_fingerprint(recipe: DataRecipe, task: Task) -> str:
    """A hash of all that determines the data set: recipe, contents of the sources, prompt, code that acts."""
    sources = sorted({stream.source for stream in recipe.streams})
    steps = [*recipe.steps, *(step for stream in recipe.streams for step in stream.steps)]
    code = [hash_folder(Path(__file__).parent, "**/*.py"), hash_file(Path(inspect.getfile(Prompt)))]
    code += [hash_file(path) for path in outside_sources(steps)]
    return fingerprint(
        {
            "recipe": recipe.model_dump(mode="json"),
            "sources": {name: content_hash(task, name) for name in sources},
            "prompt": task.prompt.model_dump(mode="json"),
            "code": code,
        }
    )


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    """Hold the lock of a folder of data sets. A file system that refuses becomes one clear line."""
    try:
        with lock(root / ".lock"):
            yield
    except OSError as error:
        reason = error.strerror or error
        raise TrexError(
            f"cannot write the data set to {root}: {reason}; free space or choose another folder"
        ) from error


def _write(recipe: DataRecipe, task: Task, folder: Path) -> None:
    rows, steps = _carry_out(recipe, task)
    rendered = list(render(rows, task))
    report = BuildReport(steps=steps, duplicates_dropped=_dropped(steps), contents=describe(rendered))
    write_jsonl(folder / TRAIN, rendered)
    write_atomic(folder / RECIPE, recipe_to_yaml(recipe))
    write_json(folder / REPORT, report.model_dump(mode="json"))


def _carry_out(recipe: DataRecipe, task: Task) -> tuple[Dataset, list[StepCount]]:
    """The mixed rows after every step, and how many there were after each."""
    counts: list[StepCount] = []
    streams = []
    for place, stream in enumerate(recipe.streams):
        where = f"streams[{place}]"
        try:
            rows = load(task, stream.source)
        except PlanError as error:
            raise PlanError(f"{where}: {error}") from None
        counts.append(StepCount(stream=stream.source, where=where, op="load", rows=len(rows)))
        rows = with_column(rows, STREAM, [stream.source] * len(rows))
        rows, counted = _run(stream.steps, rows, stream.source, f"{where}.")
        streams.append(rows)
        counts += counted
    mixed = mix(streams, [stream.weight for stream in recipe.streams], recipe.rows)
    if len(mixed) == 0:
        raise _ran_out(counts)
    counts.append(StepCount(stream="mix", where="mix", op="mix", rows=len(mixed)))
    mixed, counted = _run(recipe.steps, mixed, "mix", "")
    counts += counted
    if len(mixed) == 0:
        raise _ran_out(counts)
    if len(mixed) > MAX_ROWS:
        raise PlanError(
            f"the recipe keeps {len(mixed)} rows, {MAX_ROWS} are allowed: set `rows` or add a sample"
        )
    return mixed, counts


def _run(steps: Sequence[Step], rows: Dataset, stream: str, prefix: str) -> tuple[Dataset, list[StepCount]]:
    counts = []
    context = OperatorContext("stream" if prefix else "mix")
    for place, step in enumerate(steps):
        where = f"{prefix}steps[{place}] {step.op}"
        try:
            rows = step.run(rows, context)
        except PlanError as error:
            raise PlanError(f"{where}: {error}") from None
        counts.append(StepCount(stream=stream, where=where, op=step.op, rows=len(rows)))
    return rows, counts


def _ran_out(counts: Sequence[StepCount]) -> EmptyDataset:
    """Where the last rows went: the first step that leaves none of what the step before it left."""
    before = 0
    for step in counts:
        if step.rows == 0 and step.op != "load" and before:
            return EmptyDataset(step.where, before)
        before = step.rows
    raise AssertionError("rows ran out in no step")


def _dropped(steps: Sequence[StepCount]) -> int:
    """Rows that steps dropped as duplicates."""
    dedup = {name for name, operator in operators().items() if operator.removes_duplicates}
    return sum(before.rows - after.rows for before, after in pairwise(steps) if after.op in dedup)
