"""Follows rows through the steps of a recipe: which steps changed a row, and why rows were dropped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...errors import PlanError
from .operators.protocol import Operator, OperatorContext
from .row_table import RESERVED, SYNTHETIC, arrow, as_dataset, column, visible, with_column

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

STEPS = f"{RESERVED}steps"
"""The steps that changed a row, as their numbers in the build's report, separated by spaces."""
_PLACE = f"{RESERVED}place"


@dataclass(frozen=True)
class Followed:
    """The rows after a step, and the rows that it dropped, by reason."""

    rows: Dataset
    dropped: dict[str, int]


def run_followed(step: Operator, rows: Dataset, context: OperatorContext, number: int) -> Followed:
    """Run a step and write its number into the rows that it changed or made.

    Raises PlanError as the step does, and for a step that loses the columns of the builder.
    """
    before = arrow(rows)
    after = step.run(with_column(rows, _PLACE, list(range(len(rows)))), context)
    if _PLACE not in after.column_names:
        raise PlanError(f"the operator does not keep the columns whose names begin with {RESERVED!r}")
    places = [int(place) for place in column(after, _PLACE)]
    table = arrow(after).drop_columns([_PLACE])
    if step.kind not in ("selects", "orders"):
        table = _marked(before, table, places, str(number))
    lost = len(rows) - len(set(places))
    reasons = {reason: count for reason, count in context.dropped.rows.items() if count}
    if lost > sum(reasons.values()):
        reasons[step.op] = lost - sum(reasons.values())
    return Followed(as_dataset(table), reasons)


def _marked(before: pa.Table, after: pa.Table, places: Sequence[int], number: str) -> pa.Table:
    """The table with the step's number added to the steps of its changed rows."""
    import pyarrow as pa

    changed = _changed(before.take(pa.array(places, pa.int64())), after, places)
    if not any(changed):
        return after
    known = after.column(STEPS).to_pylist() if STEPS in after.column_names else [""] * len(after)
    steps = [
        f"{earlier or ''} {number}".strip() if here else earlier or ""
        for earlier, here in zip(known, changed, strict=True)
    ]
    values = pa.array(steps, pa.string())
    if STEPS not in after.column_names:
        return after.append_column(STEPS, values)
    return after.set_column(after.column_names.index(STEPS), STEPS, values)


def _changed(before: pa.Table, after: pa.Table, places: Sequence[int]) -> list[bool]:
    """Whether each row differs from the one that it was made of, is one of several, or became synthetic."""
    if {*visible(before.column_names)} != {*visible(after.column_names)}:
        return [True] * len(after)
    times: dict[int, int] = {}
    for place in places:
        times[place] = times.get(place, 0) + 1
    changed = [times[place] > 1 for place in places]
    if SYNTHETIC in after.column_names and SYNTHETIC not in before.column_names:
        changed = [
            known or bool(made)
            for known, made in zip(changed, after.column(SYNTHETIC).to_pylist(), strict=True)
        ]
    marks = {SYNTHETIC} & {*before.column_names} & {*after.column_names}
    for name in [*visible(after.column_names), *marks]:
        one, other = before.column(name), after.column(name)
        if one.equals(other):
            continue
        pairs = zip(changed, one.to_pylist(), other.to_pylist(), strict=True)
        changed = [known or a != b for known, a, b in pairs]
    return changed
