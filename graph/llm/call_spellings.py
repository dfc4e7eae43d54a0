"""Steps that a model wrote as text: tool calls and answers, in the spellings of the common model families.

Read are JSON objects in any wrapper (Hermes, Llama, Mistral, OpenAI's and Anthropic's fields), a tool's name with a
JSON object behind it (DeepSeek, Kimi, harmony, ReAct), XML parameters (Qwen, GLM, MiniMax) and Python calls (Llama 4,
Gemma). None of it is executed.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

ANSWER = "answer"
"""Name of the tool by which the answer is given."""

MAX_DEPTH = 64
"""Levels of an object that is read; a deeper one is refused, since code that walks it would fail."""

_TAGS = r"(?:[\w:]*think(?:ing)?|thoughts?|reasoning|reflection|scratchpad|analysis)"
_THOUGHTS = re.compile(
    r"<\|begin_of_thought\|>.*?<\|end_of_thought\|>|<\|START_THINKING\|>.*?<\|END_THINKING\|>|◁think▷.*?◁/think▷|"
    rf"<(?P<tag>{_TAGS})>.*?</(?P=tag)>|\[(?P<mark>{_TAGS})\].*?\[/(?P=mark)\]"
    rf"|<\|?channel\|?>(?:analysis|thought).*?(?=<\|start\|>|<\|channel\|>(?!analysis)|\Z)"
    rf"|\A(?:(?!<{_TAGS}>|\[{_TAGS}\]).)*(?:</{_TAGS}>|\[/{_TAGS}\])"  # the opening tag is in the prompt
    rf"|(?:<{_TAGS}>|\[{_TAGS}\]).*\Z",  # cut off
    re.DOTALL | re.IGNORECASE,
)
_NAMES = ("tool", "name", "tool_name", "function_name", "function", "recipient_name", "action")
_ARGUMENTS = ("arguments", "parameters", "args", "input", "tool_input", "action_input", "params", "kwargs")
_WRAPPERS = ("step", "function_call", "function", "tool_call", "action")
_LISTS = ("tool_calls", "tool_uses", "calls", "actions")
_ANSWERS = (ANSWER, "final_answer")
# What may stand between a tool's name and the JSON object of its arguments.
_BETWEEN = (
    r"""(?::\d+)?["'`]?(?:\s|<[^<>{}]*>|\[[A-Z_]+\]|```\w*|json\b|code\b|(?:Action |Tool )?Input\b|Arg(?:ument)?s\b"""
    r"""|Param(?:eter)?s\b|[:=>(✿-])*"""
)
_PREFIX = r"(?:functions?\.|default_api\.|api\.|tools?\.)?"
_PARAMETER = (
    r"""<(?:[^<>\s=/]*(?:param|parameter|arg|argument)(?:=|\s+name=)["']?([\w.-]+)["']?[^>]*"""
    r"""|arg_key>\s*([\w.-]+)\s*</arg_key>\s*<arg_value|(%s))>(.*?)</(?:[^<>\s=]*(?:param|parameter|arg|argument)"""
    r"""|arg_value|\3)>"""
)
_MAX_FAILURES, _MAX_OBJECTS, _MAX_PYTHON = 20, 200, 5000


@dataclass(frozen=True)
class Step:
    """One thing that was written: a named call (`answer` for the answer), or an object without a name."""

    name: str | None
    value: Any
    whole: Any = None
    """The object that it was read from."""


def without_thoughts(text: str) -> tuple[str, str]:
    """The text without its thoughts, and the thoughts."""
    thoughts = "\n".join(found[0] for found in _THOUGHTS.finditer(text))
    return _THOUGHTS.sub("", text).strip(), thoughts


def written_steps(text: str, schemas: Mapping[str, Mapping[str, Any]]) -> list[Step]:
    """The steps in a text, in their order. `schemas` are those of the arguments, by the names of the tools."""
    names = _any_of(schemas)
    found = [*_json_steps(text, names, schemas), *_xml_calls(text, names, schemas)]
    found += _python_calls(text, names, schemas)
    steps, at = [], 0
    for start, end, read in sorted(found, key=lambda each: each[:2]):
        if start >= at:
            steps += read
            at = end
    return steps


def _any_of(names: Collection[str]) -> str:
    return "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True)) or r"(?!)"


def steps_of(value: Any, names: Collection[str]) -> list[Step]:
    """The steps that an object, or a list of objects, stands for."""
    if isinstance(value, list):
        return [step for each in value for step in steps_of(each, names)]
    if not isinstance(value, dict) or too_deep(value):
        return []
    for key in _ANSWERS:
        if value.get(key) is not None and not isinstance(value.get(ANSWER), bool):
            return [Step(ANSWER, value[key], value)]
    for key in _LISTS:
        if isinstance(value.get(key), list) and (steps := steps_of(value[key], names)):
            return steps
    for key in _WRAPPERS:
        if isinstance(value.get(key), dict):
            return steps_of(value[key], names)
    key = next((key for key in _NAMES if isinstance(value.get(key), str)), "")
    given = next((name for name in _ARGUMENTS if name in value), None)
    known = canonical(value[key], names) if key else ""
    if key and (given is not None or key == "tool" or known in names):
        rest = {name: each for name, each in value.items() if name not in (key, "type", "id", ANSWER)}
        return [Step(known, rest if given is None else value[given], value)]
    if len(value) == 1 and (only := canonical(next(iter(value)), names)) in names:
        return [Step(only, next(iter(value.values())), value)]
    return [Step(None, value, value)]


def canonical(name: str, names: Collection[str]) -> str:
    """The known name that is meant by 'functions.look:0', 'default_api.look' or 'Look'; else the name itself."""
    for part in (name, *re.split(r"[.:/|<>\s]+|__", name)):
        if (plain := part.strip()) in names:
            return plain
        if (plain := plain.lower().replace("-", "_")) in names:
            return plain
    return name


def too_deep(value: Any, most: int = MAX_DEPTH) -> bool:
    """Whether a value has more than `most` levels."""
    level = [value]
    for _ in range(most):
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
        if not level:
            return False
    return True


_Found = tuple[int, int, list[Step]]


def _json_steps(text: str, names: str, schemas: Mapping[str, Any]) -> Iterator[_Found]:
    decoder, failures, at = json.JSONDecoder(strict=False), 0, 0
    named = re.compile(rf"(?<!\w){_PREFIX}({names}){_BETWEEN}\Z", re.IGNORECASE)
    start = text.find("{")
    for _ in range(_MAX_OBJECTS):
        if start < 0 or failures > _MAX_FAILURES:
            return
        try:
            found, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            failures, end = failures + 1, start + 1
        else:
            steps = steps_of(found, schemas)
            before = named.search(text, max(at, start - 200), start)
            if before and all(step.name is None for step in steps) and not too_deep(found):
                yield before.start(), end, [Step(canonical(before[1], schemas), found)]
            else:
                yield start, end, steps
            at = end
        start = text.find("{", end)


def _xml_calls(text: str, names: str, schemas: Mapping[str, Any]) -> Iterator[_Found]:
    opening = re.compile(
        rf"<(?P<kind>[^<>\s=/]+[ =](?:name=)?[\"']?)?{_PREFIX}(?P<name>{names})[\"']?\s*>"
        rf"|<(?:tool_call|function_call|tool_name|function|name|tool)>\s*(?P<bare>{names})\s*(?=<|\Z)"
    )
    places = list(opening.finditer(text))
    for number, place in enumerate(places):
        end = places[number + 1].start() if number + 1 < len(places) else len(text)
        body = text[place.end() : end]
        name = place["name"] or place["bare"]
        properties = schemas[name].get("properties", {})
        arguments = {
            key: _typed(found[4], properties.get(key, {}))
            for found in re.finditer(_PARAMETER % _any_of(properties), body, re.DOTALL)
            if (key := found[1] or found[2] or found[3])
        }
        empty = bool(place["kind"] or place["bare"]) and not body.split("<")[0].strip()
        if arguments or (empty and "{" not in body):
            yield place.start(), end, [Step(name, arguments)]


def _typed(raw: str, schema: Mapping[str, Any]) -> Any:
    """A parameter's value: as written if its schema says text, else as JSON where it is JSON."""
    text = raw.strip()
    if schema.get("type") == "string":
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _python_calls(text: str, names: str, schemas: Mapping[str, Any]) -> Iterator[_Found]:
    opening = re.compile(rf"(?:^|[\[>;`,]|print\()\s*{_PREFIX}({names})(?:\.call)?\(", re.MULTILINE)
    for place in opening.finditer(text):
        end = text.find(")", place.end())
        for _ in range(_MAX_FAILURES):
            if not place.end() <= end < place.end() + _MAX_PYTHON:
                break
            arguments = _keywords(text[place.end() : end], [*schemas[place[1]].get("properties", {})])
            if arguments is not None:
                yield place.start(), end + 1, [Step(place[1], arguments)]
                break
            end = text.find(")", end + 1)


def _keywords(inner: str, order: list[str]) -> dict[str, Any] | None:
    """The literal arguments of a call; None if they are anything else."""
    try:
        call = ast.parse(f"f({inner})", mode="eval").body
        if not isinstance(call, ast.Call):
            return None
        values = dict(zip(order, map(ast.literal_eval, call.args), strict=False))
        return values | {each.arg: ast.literal_eval(each.value) for each in call.keywords if each.arg}
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None
