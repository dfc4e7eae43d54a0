"""The data tool: a recipe becomes a data set that has passed the contamination gate."""

from __future__ import annotations

from pathlib import Path

from langchain_core.tools import BaseTool, StructuredTool
from pydantic import BaseModel, ConfigDict, Field

from ..errors import IntegrityError
from ..evaluation.grader import audit
from ..evaluation.grader import evaluation_records as ledger
from ..evaluation.grader.client import Grader
from ..evaluation.results import ContaminationReport
from ..evaluation.task import Task
from ..training.data.build import BuiltDataset, build
from ..training.data.recipe import DataRecipe
from ..training.data.sources import content_hash


class PrepareArguments(BaseModel):
    """Input of the tool `prepare_data`."""

    recipe: DataRecipe = Field(description="Streams over the task's sources, mixed and run through steps")


class PreparedData(BaseModel):
    """A built data set and what the gate said of it."""

    model_config = ConfigDict(arbitrary_types_allowed=True, frozen=True)

    dataset: BuiltDataset
    contamination: ContaminationReport


def data_tool(task: Task, datasets: Path, reuse: Path | None, grader: Grader) -> BaseTool:
    """The tool `prepare_data`. Raises PlanError for a recipe that cannot be carried out."""

    def prepare_data(recipe: DataRecipe) -> PreparedData:
        _announce(recipe, task, datasets.parent)
        dataset = build(recipe, task, datasets, reuse)
        return PreparedData(dataset=dataset, contamination=grader.check_contamination(dataset.folder))

    return StructuredTool.from_function(
        func=prepare_data,
        name="prepare_data",
        description="Build a training set from a recipe and check it against the dev and test splits.",
        args_schema=PrepareArguments,
    )


def _announce(recipe: DataRecipe, task: Task, run_dir: Path) -> None:
    """Enter into the audit trail which sources are opened, and by which hash they are known.

    Raises IntegrityError for a source that changed since the run first opened it, PlanError and InputError like
    `build`.
    """
    names = sorted({stream.source for stream in recipe.streams})
    hashes = {name: content_hash(task, name) for name in names}
    for entry in audit.read(run_dir):
        known = entry.detail if entry.what == ledger.OPEN_SOURCES else {}
        changed = [name for name, digest in hashes.items() if known.get(name, digest) != digest]
        if changed:
            raise IntegrityError(
                f"source '{changed[0]}' of task {task.name!r} changed since this run first opened it: undo the "
                "change or start a new run"
            )
    audit.record(run_dir, "data builder", ledger.OPEN_SOURCES, hashes)
