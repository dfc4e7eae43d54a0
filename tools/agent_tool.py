"""A function as a tool in an agent's hands."""

from __future__ import annotations

from collections.abc import Callable

from langchain_core.tools import BaseTool, StructuredTool
from pydantic import BaseModel, ValidationError

from ..errors import explain


def agent_tool(function: Callable[..., str], description: str, arguments: type[BaseModel]) -> BaseTool:
    """The tool, named like the function. The descriptions of `arguments` are what a model reads.

    Arguments that do not validate are answered with one line that says which, and how they are wrong.
    """
    return StructuredTool.from_function(
        func=function,
        name=function.__name__,
        description=description,
        args_schema=arguments,
        handle_validation_error=_refusal,
    )


def _refusal(error: object) -> str:
    told = explain(error) if isinstance(error, ValidationError) else " ".join(str(error).split())
    return f"error: {told[:1000]}"
