"""The history tool: SQL on the experiments of this run and of earlier ones.

A query works on a copy, in a process of its own with bounded time and memory and without our environment: the
store is never held open while a model's SQL runs, and nothing but the copy can be reached. Only what a
Researcher may know is copied: scores on `search`, and of predictions those of the items given.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from langchain_core.tools import BaseTool
from pydantic import Field

from ..errors import InputError, TrexError
from ..files import read_json
from .agent_tool import agent_tool
from .excerpt import MAX_RESULT, brief
from .history_query import PATIENCE_S, SECONDS, Answer, Columns, Query, Store, shown_tables
from .untrusted import quoted

MOST_RUNS = 50
"""Earlier runs that are looked at: the last ones given."""

_SQL = (
    "One SELECT statement in DuckDB's SQL. Columns of type JSON are read by plan->>'$.strategy'. Aggregate or "
    "LIMIT: only the first rows are shown"
)
_CELL = 300  # characters of one value
_NAME = 60  # of a column's name
_KEPT = ("PYTHONPATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")  # what finding its code may need
_START_S = 20.0  # for a busy machine to start a process


def history_tool(
    experiments: Path,
    tables: Mapping[str, Columns],
    others: Sequence[Path] = (),
    items: Collection[str] = (),
) -> BaseTool:
    """The tool `query_history`.

    `experiments` is the run's store (it may not be there yet), `tables` the tables and columns of a store that
    may be seen, `others` the stores of other runs, or their run directories. `items` are the ids of the `search`
    part of dev: predictions on others are not shown. Raises InputError for SQL that is refused or wrong,
    TrexError if the store can't be read in time.
    """
    stores = [_store(path) for path in others if _file(path).resolve() != experiments.resolve()]

    def query_history(
        sql: Annotated[str, Field(min_length=1, max_length=8_000, description=_SQL)],
        most: Annotated[int, Field(ge=1, le=200, description="Rows to show")] = 40,
    ) -> str:
        query = Query(
            sql=sql,
            most=most,
            store=str(experiments) if experiments.is_file() else None,
            tables=dict(tables),
            others=stores[-MOST_RUNS:],
            items=sorted(items),
        )
        return quoted(_as_table(_asked(query), most), "the store of experiments")

    return agent_tool(query_history, _description(tables))


def _description(tables: Mapping[str, Columns]) -> str:
    views = "\n".join(f"{name}({', '.join(columns)})" for name, columns in shown_tables(tables).items())
    return (
        "Query with SQL what was tried and how it scored. Scores are on the search part of dev. In `metrics` "
        "the base model's trial_id is 'baseline'. Strategies and directions are columns of `experiments`, "
        "recipes in its `plan`, training settings in the `plan` of `trials`. Tables:\n" + views
    )


def _file(path: Path) -> Path:
    return path / "experiments.duckdb" if path.is_dir() else path


def _store(path: Path) -> Store:
    """Another run's store, with what its task says of itself."""
    file = _file(path)
    try:
        task = read_json(file.parent / "task.json")
        known = {name: str(task.get(name, "")) for name in ("base_model", "metric")}
        known["task"] = str(task.get("name", ""))
    except (OSError, ValueError, AttributeError):
        known = {}
    return Store(path=str(file), run=file.parent.name, **known)


def _asked(query: Query) -> Answer:
    """The answer of the process that carries the query out."""
    limit = SECONDS + PATIENCE_S * (1 + len(query.others)) + _START_S
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", f"{__package__}.history_query"],
            input=query.model_dump_json(),
            capture_output=True,
            text=True,
            timeout=limit,
            env={name: os.environ[name] for name in _KEPT if name in os.environ},
        )
    except subprocess.TimeoutExpired:
        raise TrexError(f"query_history: no answer in {limit:.0f} s; ask for less") from None
    try:
        answer = Answer.model_validate(json.loads(done.stdout))
    except ValueError:  # it could not even write an answer: killed, or out of memory
        last = (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1]
        raise TrexError(f"query_history: too much memory is needed ({last[:200]}); ask for less") from None
    if answer.error is not None:
        raise InputError(f"query_history: {answer.error}")
    return answer


def _as_table(answer: Answer, most: int) -> str:
    """Rows as lines, values parted by bars, cut to what a model can read."""
    lines = [" | ".join(brief(name, _NAME) for name in answer.columns)]
    size = len(lines[0])
    for row in answer.rows[:most]:
        line = " | ".join(_cell(value) for value in row)
        size += len(line) + 1
        if size > MAX_RESULT:
            break
        lines.append(line)
    shown = len(lines) - 1
    if shown < len(answer.rows):
        lines.append(f"(the first {shown} rows; there are more: aggregate, or choose columns)")
    else:
        lines.append(f"({shown} rows)")
    return "\n".join([*lines, *(f"(left out: {reason})" for reason in answer.left_out)])


def _cell(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, float):
        return f"{value:.6g}"
    return brief(value, _CELL)
