"""Rows as gold steps. A row is a published query, or one step of it, which is the same with two more columns.

    {"tools": [{"name": "OCR", "inputs": [{"name": "image", "type": "image", "optional": false}]}],
     "files": [{"type": "image", "path": "image/a.jpg"}],
     "dialogs": [{"role": "user", "content": "…"}, {"role": "assistant", "tool_calls": […]}, …],
     "gt_answer": {"whitelist": [["12", "twelve"]], "blacklist": null}}

`query` names the query, `step` is the place of one of its assistant turns, from 0. Of a query the prediction is a
list of steps, of a step it is the reply. `dialogs` and `gt_answer` may be JSON texts, as the official loader
makes them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ....errors import InputError
from ..columns import row_name, shown
from .react import Argument, Tool


@dataclass(frozen=True)
class GoldSteps:
    """What a row is judged by. `reference` is the query's gold answer, None where there is none to judge."""

    label: str
    steps: tuple[dict[str, Any], ...]
    reference: Any
    tools: tuple[Tool, ...]
    is_step: bool


def gold_steps(row: Mapping[str, Any], index: int) -> GoldSteps:
    """What a row is judged by. Raises InputError, naming the row and the column, for one that doesn't fit."""
    label = row_name({"index": index, **row})
    needed = ("dialogs", "gt_answer", *(("tools",) if "step" in row else ()))
    missing = [name for name in needed if name not in row]
    if missing:
        raise InputError(f"{label} has no column {missing[0]!r}, which the metric gta needs")
    dialogs, reference = row["dialogs"], row["gt_answer"]
    if isinstance(dialogs, str):
        dialogs = _parsed(label, "dialogs", dialogs)
        reference = _parsed(label, "gt_answer", reference) if isinstance(reference, str) else reference
    if not isinstance(dialogs, list) or not all(isinstance(turn, dict) for turn in dialogs):
        raise InputError(f"{label}: `dialogs` must be a list of turns")
    steps = tuple(turn for turn in dialogs if turn.get("role") == "assistant")
    tools = read_tools(label, row.get("tools") or [])
    if "step" not in row:
        return GoldSteps(label, steps, reference, tools, is_step=False)
    place = row["step"]
    if not isinstance(place, int) or not 0 <= place < len(steps):
        raise InputError(
            f"{label}: `step` must be one of its {len(steps)} assistant turns, from 0, not {shown(place)}"
        )
    # The query's answer is judged once, at its last step.
    return GoldSteps(
        label, (steps[place],), reference if place == len(steps) - 1 else None, tools, is_step=True
    )


def _parsed(label: str, column: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{label}: `{column}` is not JSON ({error})") from error


def read_tools(label: str, tools: Any) -> tuple[Tool, ...]:
    """The tools of a row, with their arguments if it states them. Raises InputError for other shapes."""
    try:
        return tuple(
            Tool(
                _text(tool["name"]),
                None if tool.get("inputs") is None else tuple(map(_argument, tool["inputs"])),
            )
            for tool in tools
        )
    except (TypeError, KeyError, AttributeError) as error:
        raise InputError(
            f"{label}: `tools` must be a list of objects with `name`, as in toolmeta.json"
        ) from error


def _argument(stated: dict[str, Any]) -> Argument:
    return Argument(_text(stated["name"]), not stated.get("optional"), _text(stated.get("type") or "text"))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} is no text")
    return value


def recorded_gold(prediction: Any) -> list[dict[str, Any]] | None:
    """The gold steps in an entry of an official prediction file: with paths as they were in that run."""
    entry = _entry(prediction)
    gold = entry.get("gold") if isinstance(entry, dict) else None
    return gold if isinstance(gold, list) and all(isinstance(step, dict) for step in gold) else None


def predicted_steps(prediction: Any) -> Sequence[Any]:
    """The steps predicted for a query: a list, its JSON text, or an entry of an official prediction file.

    Nothing predicted for anything else.
    """
    steps = _entry(prediction)
    if isinstance(steps, dict):
        steps = steps["prediction"] if isinstance(steps.get("prediction"), list) else [steps]
    return steps if isinstance(steps, list) else []


def _entry(prediction: Any) -> Any:
    if not isinstance(prediction, str):
        return prediction
    try:
        return json.loads(prediction)
    except (ValueError, RecursionError):
        return None
