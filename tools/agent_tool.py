"""Makes a LangChain tool from a function."""

from __future__ import annotations

from collections.abc import Callable

from langchain_core.tools import BaseTool, StructuredTool
from pydantic import BaseModel, ValidationError

from ..errors import explain


def agent_tool(function: Callable[..., str], description: str, arguments: type[BaseModel]) -> BaseTool:
    """The tool, named like the function. The model reads the descriptions of the fields of `arguments`.

    For invalid arguments the tool returns one line that says which are wrong and why.
    """
    return StructuredTool.from_function(
        func=function,
        name=function.__name__,
        description=description,
        args_schema=arguments,
        handle_validation_error=_validation_message,
    )


def _validation_message(error: object) -> str:
    text = explain(error) if isinstance(error, ValidationError) else " ".join(str(error).split())
    return f"error: {text[:1000]}"
