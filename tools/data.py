"""The data tool: a recipe becomes a data set that has passed the contamination gate."""

from __future__ import annotations

from pathlib import Path

from langchain_core.tools import BaseTool, StructuredTool
from pydantic import BaseModel, ConfigDict, Field

from ..evaluation.grader import Grader
from ..evaluation.results import ContaminationReport
from ..evaluation.task import Task
from ..training.data.build import BuiltDataset, build
from ..training.data.recipe import DataRecipe


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
        dataset = build(recipe, task, datasets, reuse)
        return PreparedData(dataset=dataset, contamination=grader.check_contamination(dataset.folder))

    return StructuredTool.from_function(
        func=prepare_data,
        name="prepare_data",
        description="Build a training set from a recipe and check it against the dev and test splits.",
        args_schema=PrepareArguments,
    )
