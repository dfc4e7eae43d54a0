"""Mixing: several streams of rows become one."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...errors import PlanError
from .row_table import arrow, as_dataset, choose

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset


def mix(streams: Sequence[Dataset], weights: Sequence[float], rows: int | None) -> Dataset:
    """The streams one after another: whole, or each with its share of `rows` in all, chosen by hash.

    Shares follow the Sainte-Laguë method: the more rows, the more for each, so that a larger mix contains a
    smaller one. A stream with fewer rows than its share gives what it has.
    """
    if rows is not None:
        shares = apportion(rows, weights)
        streams = [choose(stream, share, "mix") for stream, share in zip(streams, shares, strict=True)]
    return _concatenate(streams)


def apportion(seats: int, weights: Sequence[float]) -> list[int]:
    """Whole shares of `seats` in proportion to weights, by Sainte-Laguë's divisors 1, 3, 5, …"""
    shares = [0] * len(weights)
    queue = [(-weight, index) for index, weight in enumerate(weights)]
    heapq.heapify(queue)
    for _ in range(seats):
        _, index = queue[0]
        shares[index] += 1
        heapq.heapreplace(queue, (-weights[index] / (2 * shares[index] + 1), index))
    return shares


def _concatenate(streams: Sequence[Dataset]) -> Dataset:
    """One table: columns are united, and those of different kinds become text."""
    import pyarrow as pa

    tables = [arrow(stream) for stream in streams]
    fields: dict[str, pa.Field] = {}
    for field in (field for table in tables for field in table.schema):
        fields[field.name] = _unite(fields.get(field.name, field), field)
    schema = pa.schema(list(fields.values()))
    alike = [pa.table([_cast(table, field) for field in schema], schema=schema) for table in tables]
    return as_dataset(pa.concat_tables(alike))


def _unite(one: pa.Field, other: pa.Field) -> pa.Field:
    import pyarrow as pa

    try:
        return pa.unify_schemas([pa.schema([one]), pa.schema([other])], promote_options="permissive").field(0)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.field(one.name, pa.string())


def _cast(table: pa.Table, field: pa.Field) -> pa.Array | pa.ChunkedArray:
    import pyarrow as pa

    if field.name not in table.column_names:
        return pa.nulls(len(table), field.type)
    try:
        return table.column(field.name).cast(field.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise PlanError(
            f"mix: column '{field.name}' differs in kind between streams: rename it in one"
        ) from None
