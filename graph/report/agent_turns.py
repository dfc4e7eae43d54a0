"""Calls of chat models by experiment, shortened to what a report can show.

The record of calls holds everything; here long texts are cut, a round shows its last calls if there are too
many, and all rounds together stay within `WHOLE` characters.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from ..llm.usage import Usage
from .call_totals import by_experiment, totals
from .formatting import clean, shorten

if TYPE_CHECKING:
    from ..llm.protocol import CallRecord

WHOLE = 1_500_000
"""Characters of all calls shown."""

A_ROUND = 40_000
"""Characters of the calls shown for one round."""

TEXT, PROBLEM, ARGUMENT, RESULT, RESULT_LINES, TOOLS = 3000, 600, 160, 700, 8, 8

_FENCE = re.compile(r"^\[data [0-9a-f]{6,} from (?P<source>.{0,300}?); it is material.*\]$")
_FENCE_END = re.compile(r"^\[end of data [0-9a-f]{6,}\]$")
_OWN_ROLES = ("ai", "assistant")


@dataclass(frozen=True)
class ToolCallView:
    """A tool that was called: its arguments in a line, and the first lines of what came back."""

    name: str
    arguments: str
    result: str


@dataclass(frozen=True)
class CallView:
    """One call of a model as it is shown. `problem`: why its answer is invalid or missing."""

    call: CallRecord
    text: str
    tools: tuple[ToolCallView, ...]
    more_tools: int
    problem: str

    @property
    def length(self) -> int:
        """Characters shown."""
        used = sum(len(tool.name) + len(tool.arguments) + len(tool.result) for tool in self.tools)
        return len(self.text) + len(self.problem) + used + 200


@dataclass(frozen=True)
class RoundCalls:
    """The calls of one round: the last ones as views, all of them in `totals`."""

    views: tuple[CallView, ...]
    left_out: int
    totals: Usage


def calls_by_experiment(calls: Sequence[CallRecord]) -> dict[str | None, RoundCalls]:
    """The calls of each experiment by its id; under None those of no experiment. A judge's have no text to show."""
    groups = by_experiment([call for call in calls if call.role != "judge"])
    room = min(A_ROUND, WHOLE // max(1, len(groups)))
    return {experiment: _bounded(made, room) for experiment, made in groups.items()}


def _bounded(calls: Sequence[CallRecord], room: int) -> RoundCalls:
    """As many of the last calls as there is room for, at least one."""
    shown: list[CallView] = []
    for view in _backwards(calls):
        room -= view.length
        if shown and room < 0:
            break
        shown.append(view)
    return RoundCalls(tuple(reversed(shown)), len(calls) - len(shown), totals(calls))


def call_views(calls: Sequence[CallRecord]) -> list[CallView]:
    """A view of each call; results of its tools come from the next call with the same purpose."""
    return list(_backwards(calls))[::-1]


def _backwards(calls: Sequence[CallRecord]) -> Iterator[CallView]:
    following: dict[str, CallRecord] = {}
    for call in reversed(calls):
        yield _view(call, following.get(call.purpose))
        following[call.purpose] = call


def _view(call: CallRecord, following: CallRecord | None) -> CallView:
    asked: list[Mapping[str, Any]] = list(call.answer.get("tools") or [])
    results = _results(following, len(asked)) if asked else []
    used = [
        ToolCallView(
            name=shorten(clean(str(tool.get("name"))), ARGUMENT),
            arguments=_arguments(tool.get("arguments")),
            result=first_lines(result),
        )
        for tool, result in zip(asked[:TOOLS], results, strict=False)
    ]
    return CallView(
        call=call,
        text=shorten(clean(readable_answer(str(call.answer.get("text") or ""))), TEXT),
        tools=tuple(used),
        more_tools=len(asked) - len(used),
        problem=shorten(clean(str(call.answer.get("problem") or "")), PROBLEM),
    )


def readable_answer(text: str) -> str:
    """The text of a model; for one JSON object, as in the output modes without tools, its fields line by line."""
    bare = text.strip().removeprefix("```json").removeprefix("```").removesuffix("```").strip()
    if not bare.startswith("{") or len(bare) > 10 * TEXT:
        return text.strip()
    try:
        shown: str = yaml.safe_dump(json.loads(bare), sort_keys=False, allow_unicode=True, width=10_000)
    except (ValueError, RecursionError, yaml.YAMLError):
        return text.strip()
    return shown.strip()


def _results(following: CallRecord | None, count: int) -> list[str]:
    """What `count` tools returned, in order; empty texts where the conversation did not go on."""
    messages = following.messages if following else []
    texts = [str(m.get("text") or "") for m in messages if m.get("role") not in _OWN_ROLES]
    return ([""] * count + texts[-count:])[-count:]


def _arguments(arguments: object) -> str:
    """'query: irony; count: 5'."""
    if not isinstance(arguments, Mapping):
        return shorten(" ".join(clean(str(arguments or "")).split()), ARGUMENT)
    pairs = (f"{name}: {' '.join(str(value)[: 2 * ARGUMENT].split())}" for name, value in arguments.items())
    return shorten(clean("; ".join(pairs)), ARGUMENT)


def first_lines(text: str) -> str:
    """The first lines of a tool's result; the fences around quoted text become 'from SOURCE:'."""
    lines: list[str] = []
    cut = len(text) > 4 * RESULT
    for line in text[: 4 * RESULT].splitlines():
        if not line.strip() or _FENCE_END.match(line):
            continue
        if len(lines) == RESULT_LINES:
            cut = True
            break
        fence = _FENCE.match(line)
        lines.append(f"from {fence['source']}:" if fence else line)
    shown = shorten(clean("\n".join(lines)), RESULT)
    return f"{shown}\n…" if cut and not shown.endswith("…") else shown
