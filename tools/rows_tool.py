"""The rows tool: real rows of a task's sources, so that a recipe fits the data.

Rows are loaded as for a recipe: by a source's name, never by a path, never from dev or test.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any

from langchain_core.tools import BaseTool
from pydantic import Field

from ..errors import PlanError
from ..evaluation.task import Task
from ..training.data.operators.filter import Filter
from ..training.data.operators.protocol import OperatorContext
from ..training.data.row_table import arrow, choose, column, take, visible
from ..training.data.sources import content_hash, load
from .agent_tool import agent_tool
from .excerpt import brief, cell, fitting
from .untrusted import quoted

if TYPE_CHECKING:
    from datasets import Dataset

CELL = 400
"""Characters of a value that are shown."""

_MOST_COUNTED = 12  # different values that are counted one by one
_WHERE = (
    "Conditions as in a recipe's filter step, e.g. "
    '[{"column": "rating", "at_least": 1}, {"column": "text", "max_words": 20}]; a row must satisfy all'
)
_CONTAINS = "Only rows with this text in some column (any case)"


def rows_tool(task: Task) -> BaseTool:
    """The tool `look_at_rows`.

    Raises PlanError for a source or column that is not there, InputError for a file that can't be read,
    IntegrityError for a source that is the task's dev or test split.
    """

    @lru_cache(maxsize=2)
    def loaded(name: str, content: str) -> Dataset:
        return load(task, name)

    def look_at_rows(
        source: Annotated[str, Field(description="Name of one of the task's sources")],
        where: Annotated[Sequence[Filter], Field(max_length=8, description=_WHERE)] = (),
        contains: Annotated[str | None, Field(min_length=1, max_length=200, description=_CONTAINS)] = None,
        columns: Annotated[list[str] | None, Field(min_length=1, description="Columns to show")] = None,
        sample: Annotated[int, Field(ge=0, le=30, description="Rows to show; 0: only counts")] = 5,
        seed: Annotated[int, Field(description="Another seed shows other rows")] = 0,
    ) -> str:
        rows = loaded(source, content_hash(task, source))
        names = visible(rows.column_names)
        shown = _known(columns, names) if columns else names
        chosen = rows
        for condition in where:
            chosen = condition.run(chosen, OperatorContext("stream"))
        if contains is not None:
            chosen = _containing(chosen, contains, names)
        lines = [f"source {source}: {len(rows)} rows; columns: {', '.join(_kinds(rows, names))}"]
        if where or contains is not None:
            lines.append(f"with these conditions: {len(chosen)} rows ({len(chosen) / len(rows):.1%})")
        summaries = ((name, _column_summary(column(chosen, name))) for name in names)
        lines += [f"{name}: {summary}" for name, summary in summaries if summary]
        sampled = take(choose(chosen, sample, f"look/{seed}"), range(min(sample, len(chosen))))
        examples = [_example(row, shown) for row in arrow(sampled).to_pylist()]
        return quoted(fitting([*lines, *examples]), f"rows of the source {source}")

    return agent_tool(
        look_at_rows,
        "Look at real rows of one of the task's sources: how many there are, which columns and "
        "values they have, how many satisfy conditions, and a sample. Long texts are cut. Sources: "
        + "; ".join(
            f"{each.name} ({brief(each.description, 200) or 'no description'})" for each in task.sources
        ),
    )


def _known(columns: Sequence[str], names: Sequence[str]) -> list[str]:
    for name in columns:
        if name not in names:
            raise PlanError(f"no column '{name}'; the rows have: {', '.join(names)}")
    return list(columns)


def _kinds(rows: Dataset, names: Sequence[str]) -> list[str]:
    schema = arrow(rows).schema
    return [f"{name} ({brief(schema.field(name).type, 60)})" for name in names]


def _containing(rows: Dataset, wanted: str, names: Sequence[str]) -> Dataset:
    folded = wanted.casefold()
    columns = [column(rows, name) for name in names]
    found = [
        index
        for index, values in enumerate(zip(*columns, strict=True))
        if any(folded in str(value).casefold() for value in values if value is not None)
    ]
    return take(rows, found)


def _column_summary(values: Sequence[Any]) -> str:
    """A column in a line: counts of few values, quartiles of numbers, lengths of texts."""
    present = [value for value in values if value is not None]
    if not present:
        return "no values" if values else ""
    missing = f"; {len(values) - len(present)} missing" if len(present) < len(values) else ""
    counts = Counter(brief(json.dumps(value, ensure_ascii=False, default=str), 60) for value in present)
    if len(counts) <= _MOST_COUNTED:
        ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
        return ", ".join(f"{value} {count}" for value, count in ordered) + missing
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in present):
        return f"min, quartiles, max: {', '.join(f'{q:g}' for q in _quartiles(present))}{missing}"
    if all(isinstance(value, str) for value in present):
        words = _quartiles([len(value.split()) for value in present])
        spelled = ", ".join(f"{q:g}" for q in words)
        return f"words: min, quartiles, max: {spelled}; {len(set(present))} different texts{missing}"
    return f"{len(counts)} different values{missing}"


def _quartiles(values: Sequence[float]) -> list[float]:
    ordered = sorted(value for value in values if math.isfinite(value)) or [math.nan]
    return [ordered[round(share * (len(ordered) - 1))] for share in (0, 0.25, 0.5, 0.75, 1)]


def _example(row: dict[str, Any], shown: Sequence[str]) -> str:
    cells = {name: cell(row[name], CELL) for name in shown}
    return json.dumps(cells, ensure_ascii=False, default=str)
