"""Scoring predictions one already has, with the scorers of FT-Bench.

    from trex import score_predictions
    scored = score_predictions("tomg:AddComponent", lines, upstream=True)
    scored.score.value, scored.rows[0].value

A line is `{"id": …, "prediction": …, "row": {the published row}}`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from ..errors import InputError
from ..evaluation.metrics import UPSTREAM, measure, metric
from ..evaluation.results import Score
from ..evaluation.statistics.intervals import score_measured
from ..evaluation.task import Item
from .suite import benchmark, subtask


class RowValue(BaseModel):
    """The value of one prediction."""

    model_config = ConfigDict(frozen=True)

    id: str
    value: float


class Scored(BaseModel):
    """The scores of a set of predictions."""

    model_config = ConfigDict(frozen=True)

    task: str
    subtask: str | None
    upstream: bool
    score: Score
    secondary: dict[str, float]
    rows: list[RowValue]


def score_predictions(task: str, lines: Iterable[Mapping[str, Any]], *, upstream: bool = False) -> Scored:
    """Score predictions with the scorer of 'TASK' or 'TASK:SUBTASK'.

    With `upstream`, exactly by the official scorer's rules, else by the corrected ones. Without a subtask,
    a task that has some reads each row's own from its column `subtask`. Raises InputError for a name that is
    not known, for no lines, and for a line that lacks a field or a column.
    """
    name, _, part = task.partition(":")
    found = benchmark(name)
    chosen = subtask(found, part) if part else None
    scorer = metric(found.metric + (f":{chosen}" if chosen else "") + (UPSTREAM if upstream else ""))
    items, predictions = _read(lines)
    measured = measure(scorer, items, predictions)
    return Scored(
        task=found.name,
        subtask=chosen,
        upstream=upstream,
        score=score_measured(scorer, measured),
        secondary=measured.secondary,
        rows=[
            RowValue(id=item["id"], value=value) for item, value in zip(items, measured.values, strict=True)
        ],
    )


def score_file(task: str, path: Path, *, upstream: bool = False) -> Scored:
    """The same for a JSON-lines file. Raises InputError that names the line at fault."""
    return score_predictions(task, _lines(path), upstream=upstream)


def _read(lines: Iterable[Mapping[str, Any]]) -> tuple[list[Item], list[str]]:
    items, predictions = [], []
    for number, line in enumerate(lines, start=1):
        missing = [field for field in ("prediction", "row") if field not in line]
        if missing:
            raise InputError(f"line {number}: no {missing[0]!r}; a line is {{'id', 'prediction', 'row'}}")
        if not isinstance(line["row"], Mapping):
            raise InputError(f"line {number}: 'row' must be the published row, an object")
        items.append({**line["row"], "id": str(line.get("id", number))})
        try:
            predictions.append(_text(line["prediction"]))
        except (ValueError, RecursionError) as error:
            raise InputError(
                f"line {number} (id {items[-1]['id']}): 'prediction' holds a value too large or too nested to be scored"
            ) from error
    if not items:
        raise InputError("there is no prediction to score")
    return items, predictions


def _text(prediction: Any) -> str:
    """What a scorer reads: text as it is, nothing as '', a list of steps as JSON."""
    if prediction is None:
        return ""
    return prediction if isinstance(prediction, str) else json.dumps(prediction, ensure_ascii=False)


def _lines(path: Path) -> Iterable[Mapping[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} can't be read: {error}") from error
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{path}:{number}: not JSON ({error.msg}); write one object a line") from error
        if not isinstance(found, dict):
            raise InputError(f"{path}:{number}: a JSON object is needed, found {type(found).__name__}")
        yield found
