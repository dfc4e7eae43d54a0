"""The model of the test server: a function of a request. By default it gives a valid answer of the requested type."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from langchain_core.utils.json_schema import dereference_refs


@dataclass(frozen=True)
class Reply:
    """A reply of the model: text, and tool calls as (name, arguments). Arguments given as text are sent unchanged."""

    text: str = ""
    tools: list[tuple[str, dict[str, Any] | str]] = field(default_factory=list)


Model = Callable[[dict[str, Any]], Reply]


def answer_by_schema(request: dict[str, Any]) -> Reply:
    """A valid answer for the requested schema, in the output mode of the request."""
    return answer_with(request, example(answer_schema(request)))


def answer_with(request: dict[str, Any], answer: Any) -> Reply:
    """This answer in the output mode of the request."""
    if request.get("tools"):
        return Reply(tools=[("answer", answer)])
    return Reply(json.dumps(_step(request, {"answer": answer})))


def call_with(request: dict[str, Any], name: str, arguments: dict[str, Any]) -> Reply:
    """A tool call in the output mode of the request."""
    if request.get("tools"):
        return Reply(tools=[(name, arguments)])
    return Reply(json.dumps(_step(request, {"tool": name, "arguments": arguments})))


def loop_of_tools(request: dict[str, Any]) -> Reply:
    """Always call a tool: the first one, or an unknown one if there is none."""
    names = tools_of(request)
    return call_with(request, names[0] if names else "more", {})


def mode_of(request: dict[str, Any]) -> str:
    """The output mode of a request."""
    if request.get("tools"):
        return "tools"
    return "json_schema" if request.get("response_format") else "text"


def tools_of(request: dict[str, Any]) -> list[str]:
    """Names of the tools that may be called, without the answer."""
    if request.get("tools"):
        names = [tool["function"]["name"] for tool in request["tools"]]
        return [name for name in names if name != "answer"]
    lines = str(request["messages"][0]["content"]).splitlines()
    return [line[2:].split(":")[0] for line in lines if line.startswith("- ") and "Arguments: {" in line]


def answer_schema(request: dict[str, Any]) -> dict[str, Any]:
    """The JSON schema of the answer in a request of any output mode."""
    if request.get("tools"):
        forms = {tool["function"]["name"]: tool["function"] for tool in request["tools"]}
        return dict(forms["answer"]["parameters"])
    if request.get("response_format"):
        step = request["response_format"]["json_schema"]["schema"]["properties"]["step"]
        last = step["anyOf"][-1] if "anyOf" in step else step
        return dict(last["properties"]["answer"])
    text = str(request["messages"][0]["content"])
    return dict(json.loads(text.rsplit("has this JSON schema: ", 1)[1]))


def talk(request: dict[str, Any]) -> str:
    """The text of all messages of a request."""
    return "\n".join(str(message.get("content") or "") for message in request["messages"])


def example(schema: dict[str, Any]) -> Any:
    """The simplest value that fits a JSON schema."""
    return _example(dereference_refs(schema))


def _step(request: dict[str, Any], step: dict[str, Any]) -> dict[str, Any]:
    return {"step": step} if request.get("response_format") else step


def _example(schema: dict[str, Any]) -> Any:
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    for choice in ("anyOf", "oneOf", "allOf"):
        if schema.get(choice):
            null = [each for each in schema[choice] if each.get("type") == "null"]
            return None if null else _example(schema[choice][0])
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if kind == "object":
        required = set(schema.get("required", []))
        return {
            name: _example(each) for name, each in schema.get("properties", {}).items() if name in required
        }
    if kind == "array":
        return [_example(schema.get("items", {"type": "string"})) for _ in range(schema.get("minItems", 0))]
    if kind == "string":
        return "an example of a text"[: schema.get("maxLength", 100)].ljust(schema.get("minLength", 0), ".")
    if kind == "boolean":
        return False
    return None if kind == "null" else _number(schema, whole=kind == "integer")


def _number(schema: dict[str, Any], whole: bool) -> float:
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    if low is None:
        return min(0, high) if high is not None else 0
    if "exclusiveMinimum" not in schema:
        return low
    return low + 1 if whole or high is None else (low + high) / 2


def shortened(reply: Reply, characters: int) -> Reply:
    """The reply, cut to this many characters; the arguments of a call that is cut are not JSON."""
    if len(reply.text) >= characters:
        return Reply(reply.text[:characters])
    left = characters - len(reply.text)
    tools: list[tuple[str, dict[str, Any] | str]] = []
    for name, arguments in reply.tools:
        raw = written(arguments)
        if left > 0:
            tools.append((name, raw[:left]))
        left -= len(raw)
    return replace(reply, tools=tools)


def written(arguments: dict[str, Any] | str) -> str:
    """Arguments as they are sent."""
    return arguments if isinstance(arguments, str) else json.dumps(arguments)
