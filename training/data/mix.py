"""Mixes several streams of rows into one table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...errors import PlanError
from .row_table import apportion, arrow, as_dataset, choose

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset


def mix(
    streams: Sequence[Dataset],
    weights: Sequence[float],
    rows: int | None,
    caps: Sequence[int | None] = (),
    temperature: float | None = None,
) -> Dataset:
    """The streams concatenated: all rows, or from each stream its share of `rows`, selected by hash.

    Shares follow the Sainte-Laguë method, in which no share shrinks when `rows` grows: a larger mix contains a
    smaller one. From a stream with fewer rows than its share all rows are used, and of none more than its cap. With a
    `temperature`, a weight is multiplied by the stream's rows to the power 1 / temperature (`tempered`).
    """
    if caps:
        streams = [
            stream if cap is None else choose(stream, cap, "mix")
            for stream, cap in zip(streams, caps, strict=True)
        ]
    if rows is not None:
        weights = tempered(weights, [len(stream) for stream in streams], temperature)
        shares = apportion(rows, weights)
        streams = [choose(stream, share, "mix") for stream, share in zip(streams, shares, strict=True)]
    return _concatenate(streams)


def tempered(weights: Sequence[float], sizes: Sequence[float], temperature: float | None) -> list[float]:
    """Weights times size^(1/T), as in multilingual pre-training (Conneau et al. 2020); None: the weights alone.

    T = 1 draws in proportion to size, a larger T more evenly.
    """
    if temperature is None:
        return list(weights)
    return [weight * max(size, 1) ** (1 / temperature) for weight, size in zip(weights, sizes, strict=True)]


def _concatenate(streams: Sequence[Dataset]) -> Dataset:
    """One table with all columns. Columns whose types have no common type become text."""
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
            f"mix: column '{field.name}' has different types in the streams: rename it in one stream"
        ) from None
