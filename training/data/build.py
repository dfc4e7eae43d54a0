"""Builds a sealed data set from a recipe and a task. Its name is a fingerprint of everything that determines it."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from pydantic import BaseModel, Field

from ...errors import IntegrityError, PlanError, TrexError
from ...evaluation.task import RenderingOptions, Task
from ...evaluation.usable_rows import Dropped
from ...files import (
    fingerprint,
    hash_file,
    hash_folder,
    lock,
    read_json,
    read_jsonl,
    write_atomic,
    write_json,
    write_jsonl,
)
from ...sealed_folder import copy, create, is_sealed
from .models.answer_cache import LLM_ANSWERS, write_answers
from .models.model_access import ModelAccess
from .operators import operators, outside_sources
from .recipe import DataRecipe
from .recipe_execution import Execution, StepCount, Watch
from .recipe_file import recipe_to_yaml
from .render import Contents, describe, render
from .row_kinds import Row
from .sources import content_hash

TRAIN = "train.jsonl"
RECIPE = "recipe.yaml"
LINEAGE = "lineage.jsonl"
RENDERING = "rendering.json"
SCORING = "scoring.json"
REPORT = "report.json"


class BuildReport(BaseModel, frozen=True):
    """The steps that made a data set, and its contents."""

    steps: list[StepCount]
    duplicates_dropped: int
    dropped: list[Dropped] = Field(
        default=[], description="Rows of the sources and the data set that were left out"
    )
    repeats_removed: int = Field(default=0, description="Rows that repeated dev or test items")
    contents: Contents

    @property
    def summary(self) -> str:
        """The data set in one line."""
        contents = self.contents
        sources = ", ".join(f"{name} {count}" for name, count in contents.streams.items())
        answers = f"{contents.distinct_answers} different {'texts' if contents.texts else 'answers'}"
        if contents.distinct_answers <= 6:
            answers = ", ".join(f"'{text}' {count}" for text, count in contents.answers.items())
        words = f"{contents.words.p50} words (95 %: {contents.words.p95}, longest: {contents.words.max})"
        dropped = f"{self.duplicates_dropped} duplicates dropped"
        if lost := sum(entry.rows for entry in self.dropped):
            dropped += f", {lost} unusable rows left out"
        if contents.bad:
            answers += f"; {contents.bad} rows are bad answers"
        if contents.synthetic:
            sources += f"; {contents.synthetic} rows are computed"
        if self.repeats_removed:
            dropped += f", {self.repeats_removed} rows that repeat dev or test items removed"
        return f"{contents.rows} rows from {sources}; {answers}; {words}; {dropped}"


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
        """The number of rows after each step and why others were dropped, one line per step."""
        return [step.text for step in self.report.steps]

    @property
    def summary(self) -> str:
        """The data set in one line."""
        return self.report.summary

    @classmethod
    def open(cls, folder: Path) -> BuiltDataset:
        """The data set in a folder. Raises IntegrityError if it is missing, incomplete or changed."""
        if not is_sealed(folder, fingerprint=folder.name):
            raise IntegrityError(f"no intact data set in {folder}: build it again from its recipe")
        return cls(folder, folder.name, BuildReport.model_validate(read_json(folder / REPORT)))


@dataclass(frozen=True)
class Preview:
    """The rows of a data set, the report on them, and where each row comes from."""

    rows: list[Row]
    report: BuildReport
    lineage: list[Row]


def build(
    recipe: DataRecipe,
    task: Task,
    out_root: Path,
    reuse_root: Path | None = None,
    models: ModelAccess | None = None,
    allow_python: bool = False,
) -> BuiltDataset:
    """The data set of a recipe, in the folder `out_root/<fingerprint>`.

    It is reused if that folder or `reuse_root` contains it, else built. Then it is copied to `reuse_root`. A folder
    of that name is always complete. `models` are for steps that use one, `allow_python` for code in Python. Raises
    PlanError for a recipe that cannot be executed (EmptyDataset if it leaves no rows), InputError for an error in the
    task's files.
    """
    name = recipe_fingerprint(recipe, task, models)
    folder = out_root / name
    with _locked(out_root):
        if not is_sealed(folder, fingerprint=name) and not (
            reuse_root and copy(reuse_root / name, folder, fingerprint=name)
        ):
            create(
                folder,
                lambda building: _write(recipe, task, building, models, allow_python),
                fingerprint=name,
            )
    if reuse_root and not is_sealed(reuse_root / name, fingerprint=name):
        with _locked(reuse_root):
            copy(folder, reuse_root / name, fingerprint=name)
    return BuiltDataset.open(folder)


def preview(
    recipe: DataRecipe,
    task: Task,
    watch: Watch = lambda count, rows: None,
    models: ModelAccess | None = None,
    allow_python: bool = False,
) -> Preview:
    """The rows that `build` would write. Raises the same errors; writes nothing. `watch` sees the rows of each step."""
    execution = Execution(task, watch, models, allow_python)
    rendered = render(execution.rows(recipe), task, recipe.output)
    report = BuildReport(
        steps=execution.steps,
        duplicates_dropped=_dropped(execution.steps),
        dropped=[*execution.unusable, *rendered.dropped],
        contents=describe(rendered.rows),
    )
    lineage = [
        {"row": key, "stream": row["stream"], "steps": [execution.steps[number].where for number in numbers]}
        for row, (key, numbers) in zip(rendered.rows, rendered.origins, strict=True)
    ]
    return Preview(rendered.rows, report, lineage)


def without_rows(dataset: BuiltDataset, removed: Collection[int]) -> BuiltDataset:
    """The data set without these rows, which repeat dev or test items, in a folder beside it. Some must be left."""
    name = fingerprint([dataset.fingerprint, sorted(removed)])
    folder = dataset.folder.parent / name

    def write(building: Path) -> None:
        left = set(removed)
        rows, lineage = (
            [row for index, row in enumerate(read_jsonl(dataset.folder / name)) if index not in left]
            for name in (TRAIN, LINEAGE)
        )
        step = StepCount(
            stream="mix",
            where="contamination gate",
            op="remove repeats",
            rows=len(rows),
            dropped={"remove repeats": len(left)},
        )
        report = dataset.report.model_copy(
            update={
                "steps": [*dataset.report.steps, step],
                "repeats_removed": len(left),
                "contents": describe(rows),
            }
        )
        write_jsonl(building / TRAIN, rows)
        write_jsonl(building / LINEAGE, lineage)
        # Not every data set has all.
        for name in (
            name for name in (RECIPE, RENDERING, SCORING, LLM_ANSWERS) if (dataset.folder / name).exists()
        ):
            write_atomic(building / name, (dataset.folder / name).read_text(encoding="utf-8"))
        write_json(building / REPORT, report.model_dump(mode="json"))

    with _locked(folder.parent):
        if not is_sealed(folder, fingerprint=name):
            create(folder, write, fingerprint=name)
    return BuiltDataset.open(folder)


def recipe_fingerprint(recipe: DataRecipe, task: Task, models: ModelAccess | None = None) -> str:
    """A hash of everything that determines the data set: recipe, sources' contents, prompt, models, source code.

    Raises PlanError for a model that is not there.
    """
    sources = sorted({stream.source for stream in recipe.streams})
    steps = recipe.all_steps
    choices = [choice for step in steps if (choice := step.model_choice()) is not None]
    if choices and models is None:
        raise PlanError("the recipe uses a model, and none can be used here")
    reading = Path(inspect.getfile(Dropped)).parent  # the room that reads files and renders rows
    code = [hash_folder(Path(__file__).parent, "**/*.py"), hash_folder(reading / "data_files", "*.py")]
    code += [hash_file(reading / name) for name in ("task.py", "conversations.py", "usable_rows.py")]
    code += [hash_file(path) for path in outside_sources(steps)]
    code += [hash_folder(reading / "metrics", "**/*.py")] * bool(choices)  # they verify answers
    code += sorted({dependency for step in steps for dependency in step.dependencies()})
    return fingerprint(
        {
            "recipe": recipe.model_dump(mode="json"),
            "sources": {name: content_hash(task, name) for name in sources},
            "prompt": task.prompt.model_dump(mode="json"),
            "rendering": task.rendering.model_dump(mode="json"),
            "choices": task.choices,
            "metric": task.metric,
            "rows": task.rows.model_dump(mode="json"),
            "code": code,
            # Of steps that state none; `rendering` has the other limit of tokens.
            "max_new_tokens": task.generation.max_new_tokens if choices else None,
            "models": [models.identity(choice) for choice in choices] if models is not None else [],
        }
    )


def rendering_options(folder: Path) -> RenderingOptions:
    """How the rows of a data set become tokens; the defaults for a folder that TREX did not build."""
    path = folder / RENDERING
    return RenderingOptions.model_validate(read_json(path)) if path.exists() else RenderingOptions()


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    """Hold the lock of a folder of data sets. Raises TrexError for an error of the file system."""
    try:
        with lock(root / ".lock"):
            yield
    except OSError as error:
        reason = error.strerror or error
        raise TrexError(
            f"cannot write the data set to {root}: {reason}; free space or choose another folder"
        ) from error


def _write(recipe: DataRecipe, task: Task, folder: Path, models: ModelAccess | None, python: bool) -> None:
    if models is not None:
        models.llm_answers.clear()
    built = preview(recipe, task, models=models, allow_python=python)
    write_jsonl(folder / TRAIN, built.rows)
    write_jsonl(folder / LINEAGE, built.lineage)
    if models is not None and models.llm_answers:
        write_answers(folder / LLM_ANSWERS, models.llm_answers)
    write_atomic(folder / RECIPE, recipe_to_yaml(recipe))
    write_json(folder / REPORT, built.report.model_dump(mode="json"))
    write_json(folder / RENDERING, task.rendering.model_dump(mode="json"))
    write_json(folder / SCORING, {"metric": task.metric})


def _dropped(steps: Sequence[StepCount]) -> int:
    """The number of rows that were dropped as duplicates."""
    dedup = {name for name, operator in operators().items() if operator.removes_duplicates}
    return sum(before.rows - after.rows for before, after in pairwise(steps) if after.op in dedup)
