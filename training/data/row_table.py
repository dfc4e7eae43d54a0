"""Functions on tables of rows: read columns, and select rows by a hash of their content.

Besides its own columns a row has the hash of its content and the name of its stream.
"""

from __future__ import annotations

import hashlib
import heapq
import math
import reprlib
from bisect import bisect_left
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from ...errors import PlanError
from ...evaluation.data_files import as_text, printable

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

REJECTED = "rejected"
"""The column with a worse answer, for preference training."""

DESIRABLE = "desirable"
"""The column that says whether an answer is good, for unpaired preference training."""

TEXT = "text"
"""The column with plain text, for pretraining."""

Scalar: TypeAlias = str | int | float | bool

RESERVED = "__"
"""Prefix of the columns that the builder adds."""

KEY = f"{RESERVED}key"
"""The hash of a row's content."""

STREAM = f"{RESERVED}stream"
"""The name of a row's stream."""

SYNTHETIC = f"{RESERVED}synthetic"
"""Whether a step made the row's content; absent or null: no."""


def choose(rows: Dataset, n: int, salt: str) -> Dataset:
    """At most `n` rows in their order, those with the lowest salted hash: a larger n adds rows to a smaller one."""
    if len(rows) <= n:
        return rows
    return take(rows, sorted(lowest(range(len(rows)), ranks(rows, salt), n)))


def require(rows: Dataset, name: str) -> None:
    """Raise PlanError for a missing column; the message lists the existing ones."""
    if name not in rows.column_names:
        raise PlanError(f"no column '{name}'; the rows have: {', '.join(visible(rows.column_names))}")


def visible(names: Sequence[str]) -> list[str]:
    """The columns that were not added by the builder."""
    return [name for name in names if not name.startswith(RESERVED)]


def column(rows: Dataset, name: str) -> list[Any]:
    """The values of a column. Raises PlanError for a missing column."""
    require(rows, name)
    values: list[Any] = arrow(rows).column(name).to_pylist()
    return values


def numbers(rows: Dataset, name: str) -> list[float | None]:
    """The values of a numeric column, or of a text column of numbers; empty and non-finite values become None.

    Raises PlanError for other columns.
    """
    found: list[float | None] = []
    for value in column(rows, name):
        number = as_number(value)
        if number is None and as_text(value).strip():
            raise PlanError(f"column '{name}' contains values like {_short(value)}, not numbers")
        found.append(number if number is not None and math.isfinite(number) else None)
    return found


def as_number(value: Any) -> float | None:
    """A number, or the number that a text states, as files without kinds of values hold it; else None."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def texts(rows: Dataset, name: str) -> list[str | None]:
    """The values of a text column. Raises PlanError for other columns."""
    values = column(rows, name)
    for value in values:
        if value is not None and not isinstance(value, str):
            raise PlanError(f"column '{name}' contains values like {_short(value)}, not text")
    return values


def with_column(rows: Dataset, name: str, values: Sequence[Any]) -> Dataset:
    """The rows with a column added, or replaced in its place.

    Raises PlanError, with the column and the row, for values that one column cannot have.
    """
    import pyarrow as pa

    # What Arrow and datasets raise for huge integers, texts that are not Unicode, and deep lists.
    unfit = (pa.ArrowException, OverflowError, UnicodeError, RecursionError)
    table = arrow(rows)
    try:
        added = pa.array(values)
        if name not in table.column_names:
            return as_dataset(table.append_column(name, added))
        return as_dataset(table.set_column(table.column_names.index(name), name, added))
    except unfit as error:
        reason = printable(str(error), 200)

    def fails(last: int) -> bool:
        try:
            as_dataset(pa.table({"value": pa.array(values[: last + 1])}))
        except unfit:
            return True
        return False

    row = bisect_left(range(len(values)), True, key=fails)
    if row == len(values):
        raise PlanError(f"a column cannot be called '{printable(name)}': {reason}")
    value = printable(reprlib.repr(values[row]))
    raise PlanError(f"column '{printable(name)}' cannot have the value {value} of row {row}: {reason}")


def take(rows: Dataset, indices: Sequence[int]) -> Dataset:
    """The rows at these indices, as a new table: `Dataset.select` would add a slow indirection."""
    import pyarrow as pa

    return as_dataset(arrow(rows).take(pa.array(indices, type=pa.int64())))


def arrow(rows: Dataset) -> pa.Table:
    """The rows as an Arrow table, in their order."""
    return rows.with_format("arrow")[:]


def as_dataset(table: pa.Table) -> Dataset:
    """An Arrow table as a data set."""
    from datasets import Dataset

    return Dataset(table, fingerprint="recipe")


def ranks(rows: Dataset, salt: str) -> list[int]:
    """A salted hash of each row's content."""
    return [digest(key, salt) for key in column(rows, KEY)]


def lowest(indices: Sequence[int], rank: Sequence[float], n: int) -> list[int]:
    """The `n` indices of lowest rank; of equal rank, the first."""
    return heapq.nsmallest(n, indices, key=lambda index: (rank[index], index))


def apportion(seats: int, weights: Sequence[float]) -> list[int]:
    """Integer shares of `seats` in proportion to weights, by Sainte-Laguë's divisors 1, 3, 5, …"""
    shares = [0] * len(weights)
    queue = [(-weight, index) for index, weight in enumerate(weights)]
    heapq.heapify(queue)
    for _ in range(seats):
        _, index = queue[0]
        shares[index] += 1
        heapq.heapreplace(queue, (-weights[index] / (2 * shares[index] + 1), index))
    return shares


def digest(content: str, salt: str) -> int:
    """64 bits of a salted BLAKE2b hash."""
    return int.from_bytes(hashlib.blake2b(f"{salt}\0{content}".encode(), digest_size=8).digest())


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
