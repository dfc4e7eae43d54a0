"""A reply in the ReAct format as a step, as the official pipeline reads it and as we do.

The pipeline is `LagentAgent.next_step` (https://github.com/open-compass/GTA/blob/37c2b60/opencompass/opencompass/
models/lagent.py) over lagent 0.2 (`ReActProtocol.parse`, `ActionExecutor`, `JsonParser`) with tools that do
nothing. Its rules:

1. With 'Final Answer:' anywhere, what follows the last one is the answer.
2. Else the last line 'Action:…' names the tool, which a line break must end, and all that follows the first
   'Action Input:' is its input. Without either, the step is an errored call of 'NoAction'.
3. A tool that the query doesn't have is an errored call of 'InvalidAction'.
4. Input that is no JSON object, or names arguments the tool doesn't have, or lacks required ones, is an errored
   call of the tool, with the input as it was.

    Thought: I must read the sign.          {'role': 'assistant', 'tool_calls': [{'type': 'function',
    Action: OCR                           →  'function': {'name': 'OCR',
    Action Input: {"image": "image/a.jpg"}   'arguments': {'image': 'image/a.jpg'}}}]}

Rule 4 needs the tools' `inputs`, as in toolmeta.json; a tool without them takes any arguments. Whether an
image exists is not checked. Input that ends the official run (a JSON number, say) gives no step.

Tolerant reading (`read_reply`) differs where the official one punishes a reply that says what it must: the first
action counts if the model went on to invent the tool's response and an answer; markers may be bold, in any case
or with a full-width colon; the name may be quoted; arguments are read as in `arguments`; the line break after
the name and a thinking block before the reply don't matter. A reply without a marker is no step.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .arguments import read_arguments

FINAL, ACTION, ACTION_INPUT = "Final Answer:", "Action:", "Action Input:"
_FINISH, _NO_ACTION, _INVALID = "FinishAction", "NoAction", "InvalidAction"
_FENCE = re.compile(r"^\s*(```json\n)?(.*)\n```\s*$", re.DOTALL)
_ATTRIBUTES = frozenset({"name", "enable", "description", "is_toolkit", "tool"})
"""What a lagent tool has beside `run`: called as 'Tool.name', it passes for an API and ends the run."""

_BOLD = r"[*_]*"
_TOLERANT_FINAL = re.compile(rf"\bfinal\s+answer{_BOLD}\s*[:：]{_BOLD}", re.IGNORECASE)
_TOLERANT_ACTION = re.compile(rf"^[ \t>#*_-]*action{_BOLD}\s*[:：]{_BOLD}", re.IGNORECASE | re.MULTILINE)
_TOLERANT_INPUT = re.compile(rf"\baction[ _]input{_BOLD}\s*[:：]{_BOLD}", re.IGNORECASE)
_NEXT_TURN = re.compile(
    rf"^[ \t>#*_-]*(?:response|observation|thought|action){_BOLD}\s*[:：]", re.IGNORECASE | re.MULTILINE
)


@dataclass(frozen=True)
class Argument:
    """An input of a tool; `kind` as in toolmeta.json: text, image, int, float, bool, file …"""

    name: str
    required: bool = True
    kind: str = "text"


@dataclass(frozen=True)
class Tool:
    """A tool a query may use; without `inputs` nothing is known of its arguments."""

    name: str
    inputs: tuple[Argument, ...] | None = None

    def accepts(self, names: set[str]) -> bool:
        """Whether a call with these arguments has all that are required and none that is unknown."""
        if self.inputs is None:
            return True
        required = {argument.name for argument in self.inputs if argument.required}
        return required <= names <= {argument.name for argument in self.inputs}

    def allowing(self, names: set[str]) -> Tool:
        """The same tool, such that it accepts these arguments."""
        if self.inputs is None:
            return self
        stated = [
            replace(argument, required=argument.required and argument.name in names)
            for argument in self.inputs
        ]
        more = sorted(names - {argument.name for argument in stated})
        return Tool(self.name, (*stated, *(Argument(name, required=False) for name in more)))


@dataclass(frozen=True)
class AgentStep:
    """What the assistant did: called a tool, or answered. With `error` it could not be carried out."""

    tool: str | None = None
    arguments: Mapping[str, Any] | None = None
    answer: str | None = None
    error: bool = False

    @property
    def kind(self) -> str:
        return "call" if self.tool is not None else "answer" if self.answer is not None else "none"


NOTHING = AgentStep(error=True)


def lagent_step(reply: str, tools: Sequence[Tool]) -> dict[str, Any] | None:
    """The step the official pipeline makes of a reply, None if it breaks down over it."""
    name, given = _intended_call(reply)
    if name == _FINISH:
        return {"role": "assistant", "content": given}
    if name == _NO_ACTION:
        return _call(_NO_ACTION, {"text": given}, "API_ERROR")
    known = {tool.name: tool for tool in tools}
    tool_name, api = (name, "run") if name in known or "." not in name else name.rsplit(".", 1)
    if tool_name not in known:
        return _call(_INVALID, {"text": given}, "API_ERROR")
    if api != "run" and api not in _ATTRIBUTES:
        return _call(tool_name, given, "API_ERROR")
    return _executed(known[tool_name], given, api)


def _intended_call(reply: str) -> tuple[str, str]:
    if FINAL in reply:
        return _FINISH, reply.rsplit(FINAL, 1)[1]
    names = re.findall(f"{ACTION}(.*?)\n", reply)
    _, marker, given = reply.partition(ACTION_INPUT)
    if not names or not marker:
        return _NO_ACTION, ""
    return names[-1].strip(), given.strip().strip('"')


def _executed(tool: Tool, given: str, api: str) -> dict[str, Any] | None:
    fenced = _FENCE.search(given)
    try:
        parsed = json.loads(fenced[2].strip() if fenced else given)
    except json.JSONDecodeError:
        return _call(tool.name, given, "ARGS_ERROR")
    except (ValueError, RecursionError):
        return None
    if api != "run":
        return None
    try:
        accepted = tool.accepts(set(parsed))
    except TypeError:  # a number, null, or a list of objects
        return None
    if not accepted:
        return _call(tool.name, given, "ARGS_ERROR")
    if not isinstance(parsed, dict):
        return None
    if all(_converts(argument.kind, parsed[argument.name]) for argument in _given(tool, parsed)):
        return _call(tool.name, parsed)
    return _call(tool.name, parsed.get("inputs", parsed), "API_ERROR")


def _given(tool: Tool, parsed: dict[str, Any]) -> list[Argument]:
    return [argument for argument in tool.inputs or () if argument.name in parsed]


def _converts(kind: str, value: Any) -> bool:
    """Whether a tool's front accepts a value for an argument of that kind."""
    if kind in ("image", "audio", "video", "file"):
        return isinstance(value, str)
    if kind not in ("int", "float"):
        return True
    try:
        int(value) if kind == "int" else float(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def _call(name: str, arguments: Any, error: str | None = None) -> dict[str, Any]:
    fault = {} if error is None else {"error": {"type": error}}
    function = {"name": name, "arguments": arguments}
    return {"role": "assistant", **fault, "tool_calls": [{"type": "function", "function": function}]}


def read_reply(reply: str, tools: Sequence[Tool]) -> AgentStep:
    """The step a reply takes, read tolerantly; `NOTHING` without a marker."""
    text = reply.rpartition("</think>")[2]
    action, finals = _TOLERANT_ACTION.search(text), list(_TOLERANT_FINAL.finditer(text))
    before = [final for final in finals if action is None or final.start() < action.start()]
    if before:
        answer = text[before[-1].end() :]
        cut = _NEXT_TURN.search(answer)
        return AgentStep(answer=(answer[: cut.start()] if cut else answer).strip())
    if action is None:
        return NOTHING
    rest = text[action.end() :]
    given = _TOLERANT_INPUT.search(rest)
    name = (rest[: given.start()] if given else rest).strip().partition("\n")[0]
    body = rest[given.end() :] if given else ""
    cut = _NEXT_TURN.search(body)
    return called(name.strip(" \t`'\"*[]()"), body[: cut.start()] if cut else body, tools)


def read_step(step: Any, tools: Sequence[Tool]) -> AgentStep:
    """A step of a dialogue or of a prediction file, or a reply; `NOTHING` for what is none."""
    if isinstance(step, str):
        return read_reply(step, tools)
    if not isinstance(step, dict):
        return NOTHING
    error = bool(step.get("error"))
    calls = step.get("tool_calls")
    if calls:
        function = (
            calls[0].get("function") if isinstance(calls, list) and isinstance(calls[0], dict) else None
        )
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            return NOTHING
        arguments = function.get("arguments")
        if isinstance(arguments, str):  # as it was written: an error only if we can't read it either
            return called(function["name"], arguments, tools)
        found = called(function["name"], arguments, tools)
        return AgentStep(found.tool, found.arguments, error=error or found.error)
    if step.get("role") == "assistant" and isinstance(step.get("content"), str):
        return AgentStep(answer=step["content"], error=error)
    return NOTHING


def called(name: str, given: Any, tools: Sequence[Tool]) -> AgentStep:
    """A call, in error if the tool or its arguments are not what the query's tools allow."""
    arguments = read_arguments(given) if isinstance(given, str) else given
    folded = {tool.name.casefold(): tool for tool in tools}
    tool = folded.get(name.casefold())
    if not isinstance(arguments, dict):
        return AgentStep(tool.name if tool else name, error=True)
    if tool is None:
        return AgentStep(name, arguments, error=bool(tools))
    return AgentStep(tool.name, arguments, error=not tool.accepts(set(arguments)))
