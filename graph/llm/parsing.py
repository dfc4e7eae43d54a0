"""Parses a model's response into a turn: tool calls, an answer, or a problem."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from langchain_core.messages import AIMessage
from langchain_core.utils.json import parse_partial_json

from ...errors import InputError
from ...files import fingerprint, parse_yaml
from .output_request import ANSWER, OutputRequest
from .protocol import Answer, ModelTurn, ToolRequest

MAX_REPAIR_CHARACTERS = 20_000
"""Longest text that is repaired if it is not JSON: the time grows with the square of the length."""

_REASONING = re.compile(r"<think(?:ing)?>.*?</think(?:ing)?>|^.*</think(?:ing)?>", re.DOTALL | re.IGNORECASE)
_FENCED = re.compile(r"```(?:json|JSON)?\s*\n?(.*?)```", re.DOTALL)
_STEP_KEYS = ("step", "tool", ANSWER, "name")
_MAX_STARTS = 20


def parse_tool_calls(message: AIMessage, request: OutputRequest[Answer]) -> ModelTurn[Answer]:
    """Parse native tool calls, of which one may be the answer. A message without calls is parsed as text."""
    calls = message.tool_calls
    if not calls:
        turn = parse_text(message, request)
        if turn.answer is not None or turn.tools:
            return turn
        names = ", ".join([*request.names, ANSWER])
        wrote = "wrote text and called no tool" if message.text.strip() else "wrote nothing"
        return ModelTurn(message, problem=f"you {wrote}: call one of {names}")
    for call in calls:
        if call["name"] == ANSWER and ANSWER not in request.names:
            return _answered(message, request, call["args"])
    requests = tuple(ToolRequest(str(call["id"]), call["name"], call["args"]) for call in calls)
    problem = next((text for each in requests if (text := _unknown(each.name, request))), None)
    return ModelTurn(message, problem=problem) if problem else ModelTurn(message, tools=requests)


def parse_text(message: AIMessage, request: OutputRequest[Answer]) -> ModelTurn[Answer]:
    """Parse JSON that a model wrote, also with other text around it or with small syntax errors."""
    text = _REASONING.sub("", message.text).strip()
    if not text:
        return ModelTurn(message, problem="you wrote nothing: write one JSON object")
    found = _object_in(text)
    if found is None:
        return ModelTurn(message, problem="your answer contains no JSON object: write one, and nothing else")
    step = found["step"] if isinstance(found.get("step"), dict) else found
    if step.get(ANSWER) is not None:
        answer, problem = request.validate(_unpacked(step[ANSWER]))
        if answer is None and ANSWER in request.answer.model_fields:
            bare, _ = request.validate(step)
            answer, problem = (bare, None) if bare is not None else (None, problem)
        return ModelTurn(message, answer=answer, problem=problem)
    name = step.get("tool") or (step.get("name") if "arguments" in step else None)
    if not isinstance(name, str):
        return _answered(message, request, step)
    arguments = _unpacked(step.get("arguments") or {})
    if name == ANSWER and ANSWER not in request.names:
        return _answered(message, request, arguments)
    if problem := _unknown(name, request):
        return ModelTurn(message, problem=problem)
    if not isinstance(arguments, dict):
        return ModelTurn(message, problem=f"the arguments of {name} are not a JSON object")
    return ModelTurn(message, tools=(ToolRequest(f"call_{fingerprint([text], 12)}", name, arguments),))


def _answered(message: AIMessage, request: OutputRequest[Answer], value: Any) -> ModelTurn[Answer]:
    answer, problem = request.validate(value)
    return ModelTurn(message, answer=answer, problem=problem)


def repair_json(text: str) -> dict[str, Any] | None:
    """The JSON object in a text with small errors (quotes, commas) or without its closing braces; None if unclear."""
    lenient = _lenient(text)
    return lenient if lenient is not None else _closed(text)


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


def _unpacked(value: Any) -> Any:
    """The value; an object that was written as a string is parsed."""
    if isinstance(value, str):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return repair_json(value) if value.lstrip().startswith("{") else value
    return value


def _object_in(text: str) -> dict[str, Any] | None:
    """The first object with the keys of a step, as written or repaired; else the first object of any kind."""
    parts = (*_FENCED.findall(text), text)
    found = [each for part in parts for each in _objects(part)]
    if step := next((each for each in found if _is_step(each)), None):
        return step
    repaired = [whole for part in parts if (whole := _repaired_in(part)) is not None]
    if step := next((each for each in repaired if _is_step(each)), None):
        return step
    return next(iter([*found, *repaired]), None)


def _is_step(found: dict[str, Any]) -> bool:
    return any(name in found for name in _STEP_KEYS)


def _repaired_in(part: str) -> dict[str, Any] | None:
    start, end = part.find("{"), part.rfind("}") + 1
    if start < 0:
        return None
    # First the whole text: its end is dropped only if there is no other way.
    return _lenient(part[start:end]) or _closed(part[start:]) or _closed(part[start:end])


def _objects(text: str) -> Iterator[dict[str, Any]]:
    decoder = json.JSONDecoder(strict=False)
    start = text.find("{")
    for _ in range(_MAX_STARTS):
        if start < 0:
            return
        try:
            found, end = decoder.raw_decode(text, start)
            yield found
        except (ValueError, RecursionError):
            end = start + 1
        start = text.find("{", end)
