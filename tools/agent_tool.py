"""Makes a LangChain tool from a function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import Parameter, signature
from typing import Any, get_type_hints

from langchain_core.tools import BaseTool, StructuredTool
from pydantic import ValidationError, create_model

from ..errors import explain


def agent_tool(
    function: Callable[..., str], description: str, types: Mapping[str, Any] | None = None
) -> BaseTool:
    """The tool, with the name and the parameters of the function. The model reads the parameters' descriptions.

    `types` replaces the types of parameters.

    A parameter is described by `Annotated[type, Field(description=...)]`. For invalid arguments the tool returns one
    line that says which are wrong and why.
    """
    types = get_type_hints(function, include_extras=True) | dict(types or {})
    fields: dict[str, Any] = {
        name: (types[name], ... if parameter.default is Parameter.empty else parameter.default)
        for name, parameter in signature(function).parameters.items()
    }
    return StructuredTool.from_function(
        func=function,
        name=function.__name__,
        description=description,
        args_schema=create_model(function.__name__, **fields),
        handle_validation_error=_validation_message,
    )


def _validation_message(error: object) -> str:
    text = explain(error) if isinstance(error, ValidationError) else " ".join(str(error).split())
    return f"error: {text[:1000]}"
