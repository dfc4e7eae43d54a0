"""Data files as Arrow tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from .formats import Row
from .values import as_text

if TYPE_CHECKING:
    import pyarrow as pa

_CHUNK = 10_000


def rows_to_table(rows: Iterable[Row]) -> pa.Table:
    """A table whose columns are the union of the rows' keys, in the order they are first seen.

    A column keeps its kind if all its values have one. Mixed kinds, and objects of differing keys, become text as
    a prompt shows it, so that a column which nobody needs costs nothing.
    """
    import pyarrow as pa

    columns: dict[str, list[pa.Array]] = {}
    done = 0
    rows = iter(rows)
    while chunk := list(islice(rows, _CHUNK)):
        for name in dict.fromkeys(name for row in chunk for name in row):
            columns.setdefault(name, [pa.nulls(done)] if done else [])
        for name, parts in columns.items():
            parts.append(_array([row.get(name) for row in chunk]))
        done += len(chunk)
    return pa.table({name: _joined(parts) for name, parts in columns.items()})


def _array(values: list[Any]) -> pa.Array:
    import pyarrow as pa

    try:
        array = pa.array(values)
    except (pa.ArrowException, OverflowError, ValueError, TypeError):
        return _texts(values)
    nested = pa.types.is_nested(array.type)
    return _texts(values) if nested and array.to_pylist() != values else array


def _joined(parts: list[pa.Array]) -> pa.ChunkedArray:
    """One column of the parts of a column. Parts of different kinds become text."""
    import pyarrow as pa

    kinds = {part.type for part in parts if part.type != pa.null()}
    numbers = all(pa.types.is_integer(kind) or pa.types.is_floating(kind) for kind in kinds)
    if len(kinds) > 1 and not numbers:
        parts = [_texts(part.to_pylist()) for part in parts]
        kinds = {pa.string()}
    kind = pa.float64() if len(kinds) > 1 else next(iter(kinds), pa.null())
    return pa.chunked_array([part.cast(kind) for part in parts], type=kind)


def _texts(values: Iterable[Any]) -> pa.Array:
    import pyarrow as pa

    return pa.array([None if value is None else as_text(value) for value in values], type=pa.string())


def table_rows(table: pa.Table) -> Iterator[Row]:
    """The rows of a table, one at a time."""
    for batch in table.to_batches(max_chunksize=_CHUNK):
        yield from batch.to_pylist()
