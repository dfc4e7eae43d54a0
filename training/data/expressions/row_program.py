"""Applies expressions to the rows of a table. A row for which one has no value costs itself, not the step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator

from ....errors import PlanError
from ..row_table import arrow, visible
from .expression import Expression, parse
from .row_values import RowError, Value, Work

if TYPE_CHECKING:
    from datasets import Dataset

TABLE_WORK = 1_000_000_000
"""Units of work for all rows of a step."""
_BATCH = 1_000


def _valid(text: str) -> str:
    try:
        parse(text)
    except PlanError as error:
        raise ValueError(str(error)) from None
    return text


ExpressionText = Annotated[str, AfterValidator(_valid)]
"""The text of an expression that can be read."""


@dataclass(frozen=True)
class Computed:
    """The values of one row by name, or why it has none."""

    values: Mapping[str, Value]
    fault: str | None = None


def computed(rows: Dataset, columns: Mapping[str, str]) -> Iterator[Computed]:
    """For each row the values of the expressions, each of which may use the ones before it.

    Raises PlanError for a column that is not there, and if all rows together need too much work.
    """
    expressions = {name: parse(text) for name, text in columns.items()}
    needed = _needed(expressions, visible(rows.column_names))
    left = TABLE_WORK
    for batch in arrow(rows).select(needed).to_batches(max_chunksize=_BATCH):
        for row in batch.to_pylist() if needed else [{}] * len(batch):
            work = Work()
            yield _computed(row, expressions, work)
            left -= work.limit - work.left
            if left < 0:
                raise PlanError(
                    f"the rows need more than {TABLE_WORK} operations: use fewer rows or simpler ones"
                )


def _computed(row: dict[str, Value], expressions: Mapping[str, Expression], work: Work) -> Computed:
    values: dict[str, Value] = {}
    for name, expression in expressions.items():
        try:
            values[name] = expression({**row, **values}, work)
        except RowError as error:
            return Computed(values, f"{name}: {error}")
    return Computed(values)


def _needed(expressions: Mapping[str, Expression], there: list[str]) -> list[str]:
    """The columns of the rows that the expressions read."""
    made: set[str] = set()
    needed: set[str] = set()
    for name, expression in expressions.items():
        for column in sorted(expression.columns - made):
            if column not in there:
                near = get_close_matches(column, [*there, *made], n=1)
                advice = f"; did you mean '{near[0]}'?" if near else ""
                raise PlanError(f"{name}: no column '{column}'; the rows have: {', '.join(there)}{advice}")
            needed.add(column)
        if expression.reads_row:
            needed.update(there)
        made.add(name)
    return sorted(needed)
