"""Parses a model's response into a turn: tool calls, an answer, or a problem."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from langchain_core.messages import AIMessage
from langchain_core.utils.json import parse_partial_json

from ...errors import InputError
from ...files import fingerprint, parse_yaml
from .call_spellings import ANSWER, Step, canonical, steps_of, too_deep, without_thoughts, written_steps
from .output_request import OutputRequest
from .protocol import Answer, ModelTurn, ToolRequest

MAX_REPAIR_CHARACTERS = 20_000
"""Longest text that is repaired if it is not JSON: the time grows with the square of the length."""

THOUGHT_FIELDS = ("reasoning_content", "reasoning", "thinking")
"""Fields of a response in which servers give the model's thoughts as text."""

_FENCED = re.compile(r"```(?:json|JSON)?\s*\n?(.*?)```", re.DOTALL)
_WRAPPING = ("arguments", "parameters", "args", "input", "kwargs")


def parse_tool_calls(message: AIMessage, request: OutputRequest[Answer]) -> ModelTurn[Answer]:
    """Parse native tool calls, of which one may be the answer. A message without calls is parsed as text."""
    if not message.tool_calls:
        turn = parse_text(message, request)
        if turn.answer is not None or turn.tools or turn.problem not in (_NOTHING, _NO_OBJECT):
            return turn
        names = ", ".join([*request.names, ANSWER])
        wrote = "wrote text and called no tool" if message.text.strip() else "wrote nothing"
        return ModelTurn(message, problem=f"you {wrote}: call one of {names}")
    steps = [Step(canonical(call["name"], request.schemas), call["args"]) for call in message.tool_calls]
    for step in steps:
        if _is_answer(step, request):
            return _answered(message, request, step.value)
    ids = [str(call["id"]) for call in message.tool_calls]
    return _requested(message, request, steps, ids)


_NOTHING = "you wrote nothing: write one JSON object"
_NO_OBJECT = "your answer contains no JSON object: write one, and nothing else"


def parse_text(message: AIMessage, request: OutputRequest[Answer]) -> ModelTurn[Answer]:
    """Parse what a model wrote: JSON with other text around it or small errors, or a call in any spelling.

    Of several steps the last one counts, since those before it are drafts. Thoughts are read only if there is nothing
    else.
    """
    text, thoughts = without_thoughts(message.text)
    given = (str(message.additional_kwargs.get(name) or "") for name in THOUGHT_FIELDS)
    texts = [text] if text else [each for each in (thoughts, *given) if each.strip()]
    for each in texts:
        if steps := _last_steps(each, request):
            return _turn_of(message, request, steps, each)
    return ModelTurn(message, problem=_NO_OBJECT if text else _NOTHING)


def _last_steps(text: str, request: OutputRequest[Any]) -> list[Step]:
    """The last answer or the calls at the end; without one, the last object of any kind."""
    steps = written_steps(text, request.schemas)
    repaired = [step for each in _repaired(text) for step in steps_of(each, request.schemas)]
    for candidates in (steps, repaired):
        while candidates and candidates[-1].name is None and not _fits(candidates[-1], request):
            candidates = candidates[:-1]
        if candidates:
            first = len(candidates) - 1
            while first and all(_is_call(step, request) for step in candidates[first - 1 :]):
                first -= 1
            return candidates[first:]
    return (steps or repaired)[-1:]


def _fits(step: Step, request: OutputRequest[Any]) -> bool:
    """Whether an object without a name is the answer."""
    return (
        bool(request.answer.model_fields.keys() & step.value) and request.validate(step.value)[0] is not None
    )


def _is_call(step: Step, request: OutputRequest[Any]) -> bool:
    return step.name is not None and not _is_answer(step, request)


def _is_answer(step: Step, request: OutputRequest[Any]) -> bool:
    return step.name == ANSWER and ANSWER not in request.names


def _turn_of(
    message: AIMessage, request: OutputRequest[Answer], steps: list[Step], text: str
) -> ModelTurn[Answer]:
    last = steps[-1]
    if not _is_call(last, request):
        turn = _answered(message, request, last.value)
        if turn.answer is None and isinstance(last.whole, dict):  # the answer may have a field of that name
            bare, _ = request.validate(last.whole)
            turn = ModelTurn(message, answer=bare) if bare is not None else turn
        return turn
    ids = [f"call_{fingerprint([text, place], 12)}" for place in range(len(steps))]
    turn = _requested(message, request, steps, ids)
    if turn.problem and isinstance(last.whole, dict) and _fits(Step(None, last.whole), request):
        return _answered(message, request, last.whole)
    return turn


def _requested(
    message: AIMessage, request: OutputRequest[Answer], steps: list[Step], ids: list[str]
) -> ModelTurn[Answer]:
    """The turn for calls of tools: a problem if one of them is unknown, or has no object as arguments."""
    made: list[ToolRequest] = []
    for step, id in zip(steps, ids, strict=True):
        name, arguments = str(step.name), _arguments(step.value, request.schemas.get(str(step.name), {}))
        problem = _unknown(name, request)
        if problem is None and not isinstance(arguments, dict):
            problem = f"the arguments of {name} are not a JSON object"
        if problem:
            return ModelTurn(message, problem=problem)
        made.append(ToolRequest(id, name, arguments))
    return ModelTurn(message, tools=tuple(made))


def _arguments(value: Any, schema: Mapping[str, Any]) -> Any:
    """Arguments as an object, also if they were written as text once or twice, or inside another object."""
    value = _unpacked(_unpacked(value))
    if isinstance(value, dict) and len(value) == 1:
        (key,) = value
        if key in _WRAPPING and key not in schema.get("properties", {}):
            return _unpacked(value[key])
    return {} if value in (None, "", []) else value


def _answered(message: AIMessage, request: OutputRequest[Answer], value: Any) -> ModelTurn[Answer]:
    """The validated answer. Tried as given, then with its texts that hold JSON read, then without a wrapper."""
    value = _unpacked(_unpacked(value))
    answer, problem = request.validate(value)
    if answer is None and isinstance(value, dict):
        read = {name: _unpacked(each, only_json=True) for name, each in value.items()}
        others = [read] if read != value else []
        if len(value) == 1 and next(iter(value)) in (ANSWER, *_WRAPPING):
            others.append(_unpacked(next(iter(value.values()))))
        answer = next((found for each in others if (found := request.validate(each)[0]) is not None), None)
    return ModelTurn(message, answer=answer, problem=None if answer is not None else problem)


def repair_json(text: str) -> dict[str, Any] | None:
    """The JSON object in a text with small errors (quotes, commas) or without its closing braces; None if unclear."""
    for read in (_lenient, _closed):
        found = read(text)
        if found is not None:
            return None if too_deep(found) else found
    return None


def _lenient(text: str) -> dict[str, Any] | None:
    """Read as YAML, which allows single quotes and trailing commas."""
    try:
        found = parse_yaml(text, "answer") if len(text) <= MAX_REPAIR_CHARACTERS else None
    except (InputError, RecursionError):
        return None
    return {str(name): value for name, value in found.items()} if isinstance(found, dict) else None


def _closed(text: str) -> dict[str, Any] | None:
    """Close what is still open at the end of the text."""
    try:
        found = parse_partial_json(text) if len(text) <= MAX_REPAIR_CHARACTERS else None
    except (ValueError, RecursionError):
        return None
    # An empty object means that nothing could be read.
    return found if isinstance(found, dict) and found else None


def _unknown(name: str, request: OutputRequest[Any]) -> str | None:
    if name in request.names:
        return None
    if not request.names:
        return "no tool can be called in this turn: give the answer now"
    return f"there is no tool {name[:60]!r}; tools: {', '.join(request.names)}, and the answer"


def _unpacked(value: Any, only_json: bool = False) -> Any:
    """The value; an object or a list that was written as a string is parsed."""
    if not isinstance(value, str) or (only_json and not value.lstrip().startswith(("{", "["))):
        return value
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return repair_json(value) if value.lstrip().startswith("{") and not only_json else value
    return value if too_deep(found) else found


def _repaired(text: str) -> list[dict[str, Any]]:
    found = (_repaired_in(part) for part in (*_FENCED.findall(text), text))
    return [each for each in found if each is not None]


def _repaired_in(part: str) -> dict[str, Any] | None:
    start, end = part.find("{"), part.rfind("}") + 1
    if start < 0:
        return None
    # First the whole text: its end is dropped only if there is no other way.
    return _lenient(part[start:end]) or _closed(part[start:]) or _closed(part[start:end])
