"""The evaluation tool: a model on the part of dev that the search may see."""

from __future__ import annotations

from pathlib import Path

from langchain_core.tools import BaseTool, StructuredTool
from pydantic import BaseModel, Field

from ..evaluation.grader.client import Grader
from ..evaluation.results import Evaluation


class EvaluateArguments(BaseModel):
    """Input of the tool `evaluate`. There is no way to name another split than `search`."""

    adapter: Path | None = Field(
        default=None, description="Folder of a LoRA adapter; none for the base model"
    )
    limit: int | None = Field(default=None, ge=1, description="Only the first so many items")


def evaluation_tool(grader: Grader) -> BaseTool:
    """The tool `evaluate`: scores a model with the task's own metric, prompt and settings."""

    def evaluate(adapter: Path | None = None, limit: int | None = None) -> Evaluation:
        return grader.evaluate(adapter, "search", limit)

    return StructuredTool.from_function(
        func=evaluate,
        name="evaluate",
        description="Score the base model, or an adapter on it, on the search part of dev.",
        args_schema=EvaluateArguments,
    )
