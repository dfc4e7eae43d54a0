"""What a turn is asked for: one of some tools, or a typed answer, as JSON schemas that a model reads."""

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
from .protocol import Answer

ANSWER = "answer"
"""What the answer is called where tools have names."""


@dataclass(frozen=True)
class Question(Generic[Answer]):
    """Answer with an `answer`, or call one of `tools` first."""

    answer: type[Answer]
    tools: Sequence[BaseTool] = ()

    @cached_property
    def tool_forms(self) -> list[dict[str, Any]]:
        """The tools as functions in OpenAI's form, the answer not among them."""
        return [_plain(convert_to_openai_tool(tool)) for tool in self.tools]

    @cached_property
    def answer_schema(self) -> dict[str, Any]:
        """The answer's JSON schema, without references."""
        schema: dict[str, Any] = _plain(dereference_refs(self.answer.model_json_schema()))
        schema.pop("description", None)
        return schema

    @cached_property
    def answer_form(self) -> dict[str, Any]:
        """The answer as one more function."""
        why = " ".join((self.answer.__doc__ or "").split()) or "The answer."
        return {
            "type": "function",
            "function": {
                "name": ANSWER,
                "description": f"Give the final answer. {why}",
                "parameters": self.answer_schema,
            },
        }

    @property
    def names(self) -> list[str]:
        """Names of the tools that may be called."""
        return [tool.name for tool in self.tools]

    @cached_property
    def step_schema(self) -> dict[str, Any]:
        """One JSON object that is either a call of a tool or the answer."""
        choices = [
            _object(tool={"type": "string", "enum": [name]}, arguments=arguments)
            for name, arguments in self.arguments.items()
        ]
        choices.append(_object(answer=self.answer_schema))
        # Providers want an object at the root, not a choice.
        return _object(step={"anyOf": choices} if len(choices) > 1 else choices[0])

    @cached_property
    def arguments(self) -> dict[str, dict[str, Any]]:
        """JSON schemas of the tools' arguments, by the tools' names."""
        forms = [form["function"] for form in self.tool_forms]
        return {form["name"]: form.get("parameters") or _object() for form in forms}

    def typed(self, value: Any) -> tuple[Answer | None, str | None]:
        """The answer, or what is wrong with it in one line."""
        try:
            return self.answer.model_validate(value), None
        except ValidationError as error:
            return None, f"the answer does not fit its schema: {explain(error)[:1000]}"
        except (RecursionError, ArithmeticError) as error:
            return None, f"the answer cannot be read: {type(error).__name__}"


def _object(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _plain(schema: Any) -> Any:
    """A schema without what says nothing to a model: titles, definitions that were put in their places."""
    if isinstance(schema, list):
        return [_plain(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if isinstance(schema.get("properties"), dict):  # names of fields, which may be 'title' too
        fields = {name: _plain(value) for name, value in schema["properties"].items()}
        rest = {name: value for name, value in schema.items() if name != "properties"}
        return {**_plain(rest), "properties": fields}
    dropped = ("title", "$defs", "discriminator")
    return {name: _plain(value) for name, value in schema.items() if name not in dropped}
