"""What a model is asked for in one turn: a call of one of the tools, or a typed answer. Given as JSON schemas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic

from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_core.utils.json_schema import dereference_refs
from pydantic import ValidationError

from ...errors import explain
from .call_spellings import ANSWER
from .protocol import Answer


@dataclass(frozen=True)
class OutputRequest(Generic[Answer]):
    """Give an `answer`, or call one of `tools` first."""

    answer: type[Answer]
    tools: Sequence[BaseTool] = ()

    @cached_property
    def tool_forms(self) -> list[dict[str, Any]]:
        """The tools as functions in OpenAI's format, without the answer."""
        return [_plain(convert_to_openai_tool(tool)) for tool in self.tools]

    @cached_property
    def answer_schema(self) -> dict[str, Any]:
        """The answer's JSON schema, without references."""
        schema: dict[str, Any] = _plain(dereference_refs(self.answer.model_json_schema()))
        schema.pop("description", None)
        return schema

    @cached_property
    def answer_form(self) -> dict[str, Any]:
        """The answer as a function in OpenAI's format."""
        why = " ".join((self.answer.__doc__ or "").split()) or "The answer."
        description = f"Give the final answer. {why}"
        function = {"name": ANSWER, "description": description, "parameters": self.answer_schema}
        return {"type": "function", "function": function}

    @property
    def names(self) -> list[str]:
        """Names of the tools that may be called."""
        return [tool.name for tool in self.tools]

    @cached_property
    def schemas(self) -> dict[str, dict[str, Any]]:
        """JSON schemas of all that may be called: the tools, and the answer."""
        return {ANSWER: self.answer_schema, **self.arguments}

    @cached_property
    def step_schema(self) -> dict[str, Any]:
        """Schema of one JSON object that is either a tool call or the answer."""
        choices = [
            _object(tool={"type": "string", "enum": [name]}, arguments=arguments)
            for name, arguments in self.arguments.items()
        ]
        choices.append(_object(answer=self.answer_schema))
        # Providers require an object at the root; `anyOf` is not allowed there.
        return _object(step={"anyOf": choices} if len(choices) > 1 else choices[0])

    @cached_property
    def arguments(self) -> dict[str, dict[str, Any]]:
        """JSON schemas of the tools' arguments, by the tools' names."""
        forms = [form["function"] for form in self.tool_forms]
        return {form["name"]: form.get("parameters") or _object() for form in forms}

    def validate(self, value: Any) -> tuple[Answer | None, str | None]:
        """The validated answer, or one line that says what is wrong with it."""
        try:
            return self.answer.model_validate(value), None
        except ValidationError as error:
            return None, f"the answer does not fit its schema: {explain(error)[:1000]}"
        except (RecursionError, ArithmeticError) as error:
            return None, f"the answer cannot be read: {type(error).__name__}"


def _object(**properties: Any) -> dict[str, Any]:
    required = {"required": list(properties), "additionalProperties": False}
    return {"type": "object", "properties": properties, **required}


def _plain(schema: Any) -> Any:
    """A schema without titles and resolved definitions, which only cost tokens."""
    if isinstance(schema, list):
        return [_plain(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if isinstance(schema.get("properties"), dict):  # a field may itself be named 'title'
        fields = {name: _plain(value) for name, value in schema["properties"].items()}
        rest = {name: value for name, value in schema.items() if name != "properties"}
        return {**_plain(rest), "properties": fields}
    dropped = ("title", "$defs", "discriminator")
    return {name: _plain(value) for name, value in schema.items() if name not in dropped}
