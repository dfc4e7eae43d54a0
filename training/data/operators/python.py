"""The operator `python`: a row function, in a sandbox."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from ....errors import PlanError
from ..row_table import KEY, SYNTHETIC, column, take, visible, with_column
from ..sandbox.row_sandbox import STEP_SECONDS, run_rows
from .model_step import row_values
from .protocol import Operator, OperatorContext

if TYPE_CHECKING:
    from datasets import Dataset

MAX_ROWS_OF_ONE = 100


class Python(Operator):
    """Make rows by a function `row(row)` in Python, where `--allow-python` is given; rows become synthetic.

    It gets a dict of the row's columns and returns a dict of new or changed columns, a list of such dicts for several
    rows, or None to drop the row. It runs in a process that can compute and nothing else; a row on which it fails is
    dropped. All rows may take 10 minutes, or the time that the run has left. Use `compute` where an expression will do.
    """

    op: Literal["python"] = "python"
    code: str = Field(
        min_length=1,
        max_length=20_000,
        description="Python that defines `def row(row): ...`; standard library only",
    )
    seed: int = Field(default=0, ge=0, description="Another seed gives other numbers of `random`")

    examples: ClassVar = ({"op": "python", "code": "def row(row):\n    return {'n': len(row['text'])}"},)
    kind: ClassVar = "expands"
    position: ClassVar = 15
    needs_permission: ClassVar = True

    def run(self, rows: Dataset, context: OperatorContext) -> Dataset:
        if not context.allow_python:
            raise PlanError("Python code is not allowed here: use `compute`, or give --allow-python")
        keys, indices, made = list[str](), list[int](), list[dict[str, Any]]()
        sources = row_values(rows)
        left = context.models.seconds_left() if context.models is not None else None
        seconds = STEP_SECONDS if left is None else min(STEP_SECONDS, left)
        results = run_rows(self.code, sources, self.seed, step_seconds=seconds)
        for index, (key, result) in enumerate(zip(column(rows, KEY), results, strict=True)):
            fresh = result.rows[:MAX_ROWS_OF_ONE]
            if not fresh:
                context.dropped.add("error" if result.fault else "dropped by the code", result.fault)
            keys += [key if len(fresh) == 1 else f"{key}/{place}" for place in range(len(fresh))]
            indices += [index] * len(fresh)
            made += fresh
        if len(rows) and not indices and "error" in context.dropped.rows:
            raise PlanError(f"no row is left; the first error: {context.dropped.examples['error']}")
        found = take(rows, indices)
        names = dict.fromkeys(name for each in made for name in each)
        if bad := [name for name in names if name not in visible([name]) or not name]:
            raise PlanError(f"the code makes the column {bad[0]!r:.60}: such names are reserved")
        for name in names:
            old = [row.get(name) for row in (sources[index] for index in indices)]
            values = [each.get(name, before) for each, before in zip(made, old, strict=True)]
            found = with_column(found, name, values)
        return with_column(with_column(found, KEY, keys), SYNTHETIC, [True] * len(keys))
