"""What a model wrote, read as a turn: a call of a tool, an answer, or what is wrong with it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from langchain_core.messages import AIMessage
from langchain_core.utils.json import parse_partial_json

from ...errors import InputError
from ...files import fingerprint, parse_yaml
from .protocol import Answer, ToolRequest, Turn
from .question import ANSWER, Question

MENDED = 20_000
"""Characters of a text that is mended if it is no JSON: the effort grows with the square."""

_THOUGHTS = re.compile(r"<think(?:ing)?>.*?</think(?:ing)?>|^.*</think(?:ing)?>", re.DOTALL | re.IGNORECASE)
_FENCED = re.compile(r"```(?:json|JSON)?\s*\n?(.*?)```", re.DOTALL)
_STEP = ("step", "tool", ANSWER, "name")
_MOST_STARTS = 20


def read_calls_of_tools(message: AIMessage, question: Question[Answer]) -> Turn[Answer]:
    """A turn of a model that calls tools, of which one is the answer. Words alone are read as text."""
    calls = message.tool_calls
    if not calls:
        turn = read_text(message, question)
        if turn.answer is not None or turn.tools:
            return turn
        names = ", ".join([*question.names, ANSWER])
        said = "wrote words and called nothing" if message.text.strip() else "said nothing"
        return Turn(message, problem=f"you {said}: call one of {names}")
    for call in calls:
        if call["name"] == ANSWER and ANSWER not in question.names:
            answer, problem = question.typed(call["args"])
            return Turn(message, answer=answer, problem=problem)
    requests = tuple(ToolRequest(str(call["id"]), call["name"], call["args"]) for call in calls)
    problem = next((told for each in requests if (told := _unknown(each.name, question))), None)
    return Turn(message, problem=problem) if problem else Turn(message, tools=requests)


def read_text(message: AIMessage, question: Question[Answer]) -> Turn[Answer]:
    """A turn of a model that writes JSON, perhaps among other words, perhaps with slips."""
    text = _THOUGHTS.sub("", message.text).strip()
    if not text:
        return Turn(message, problem="you said nothing: write one JSON object")
    found = _object_in(text)
    if found is None:
        return Turn(message, problem="there is no JSON object in what you wrote: write one, and nothing else")
    step = found["step"] if isinstance(found.get("step"), dict) else found
    if step.get(ANSWER) is not None:
        answer, problem = question.typed(_unpacked(step[ANSWER]))
        if answer is None and ANSWER in question.answer.model_fields:
            bare, _ = question.typed(step)
            answer, problem = (bare, None) if bare is not None else (None, problem)
        return Turn(message, answer=answer, problem=problem)
    name = step.get("tool") or (step.get("name") if "arguments" in step else None)
    if not isinstance(name, str):
        answer, problem = question.typed(step)
        return Turn(message, answer=answer, problem=problem)
    arguments = _unpacked(step.get("arguments") or {})
    if name == ANSWER and ANSWER not in question.names:
        answer, problem = question.typed(arguments)
        return Turn(message, answer=answer, problem=problem)
    if problem := _unknown(name, question):
        return Turn(message, problem=problem)
    if not isinstance(arguments, dict):
        return Turn(message, problem=f"the arguments of {name} are no JSON object")
    return Turn(message, tools=(ToolRequest(f"call_{fingerprint([text], 12)}", name, arguments),))


def mended(text: str) -> dict[str, Any] | None:
    """The JSON object that a text is meant to be: quotes and commas forgiven, missing braces closed."""
    forgiven = _forgiven(text)
    return forgiven if forgiven is not None else _closed(text)


def _forgiven(text: str) -> dict[str, Any] | None:
    """Single quotes and commas too many, which YAML takes."""
    try:
        found = parse_yaml(text, "answer") if len(text) <= MENDED else None
    except (InputError, RecursionError):
        return None
    return {str(name): value for name, value in found.items()} if isinstance(found, dict) else None


def _closed(text: str) -> dict[str, Any] | None:
    """What was opened is closed at the end."""
    try:
        found = parse_partial_json(text) if len(text) <= MENDED else None
    except (ValueError, RecursionError):
        return None
    # An empty object is what is left of a text of which nothing could be read.
    return found if isinstance(found, dict) and found else None


def _unknown(name: str, question: Question[Any]) -> str | None:
    if name in question.names:
        return None
    if not question.names:
        return f"no tool can be called any more, {name[:60]!r} neither: give the answer now"
    return f"there is no tool {name[:60]!r}: there are {', '.join(question.names)}, and the answer"


def _unpacked(value: Any) -> Any:
    """An object that was written as text."""
    if isinstance(value, str):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return mended(value) if value.lstrip().startswith("{") else value
    return value


def _object_in(text: str) -> dict[str, Any] | None:
    """The first object that looks like a step, as it stands or mended; else the first object of any kind."""
    parts = (*_FENCED.findall(text), text)
    found = [each for part in parts for each in _objects(part)]
    if step := next((each for each in found if _is_step(each)), None):
        return step
    repaired = [whole for part in parts if (whole := _mended_in(part)) is not None]
    if step := next((each for each in repaired if _is_step(each)), None):
        return step
    return next(iter([*found, *repaired]), None)


def _is_step(found: dict[str, Any]) -> bool:
    return any(name in found for name in _STEP)


def _mended_in(part: str) -> dict[str, Any] | None:
    start, end = part.find("{"), part.rfind("}") + 1
    if start < 0:
        return None
    # The whole before its beginning: what is cut off must not get lost where it can be kept.
    return _forgiven(part[start:end]) or _closed(part[start:]) or _closed(part[start:end])


def _objects(text: str) -> Iterator[dict[str, Any]]:
    decoder = json.JSONDecoder(strict=False)
    start = text.find("{")
    for _ in range(_MOST_STARTS):
        if start < 0:
            return
        try:
            found, end = decoder.raw_decode(text, start)
            yield found
        except (ValueError, RecursionError):
            end = start + 1
        start = text.find("{", end)
