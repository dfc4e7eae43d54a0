"""A function as a tool in an agent's hands."""

from __future__ import annotations

from collections.abc import Callable

from langchain_core.tools import BaseTool, StructuredTool
from pydantic import BaseModel

from .refusal import refusal


def agent_tool(function: Callable[..., str], description: str, arguments: type[BaseModel]) -> BaseTool:
    """The tool, named like the function. The descriptions of `arguments` are what a model reads."""
    return StructuredTool.from_function(
        func=function,
        name=function.__name__,
        description=description,
        args_schema=arguments,
        handle_validation_error=refusal,
    )
