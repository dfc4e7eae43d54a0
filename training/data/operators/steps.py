"""Operators: what each step of a recipe does to rows. To add one: a class in `recipe.py`, a function here.

All are deterministic. Those that choose rows choose by a hash of the rows' content, so that the chosen set
does not depend on the order of a file. They raise PlanError for a step that does not fit the rows.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import math
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import singledispatch
from typing import TYPE_CHECKING, Any

from ....errors import PlanError
from ..recipe import RESERVED, Balance, Dedup, Filter, HashSplit, Rename, Sample, Scalar, Shuffle, Threshold
from ..sources import KEY

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

STREAM = f"{RESERVED}stream"


@singledispatch
def apply(step: Any, rows: Dataset, scope: str) -> Dataset:
    """The rows after a step. `scope` tells steps of a stream from steps of the mix.

    It salts the hashes: were both sampled by one hash, a mix of a sampled and a whole stream would, sampled
    again, favour the first.
    """
    raise TypeError(f"no operator for {type(step).__name__}")


@apply.register(Filter)
def _filter(step: Filter, rows: Dataset, scope: str) -> Dataset:
    values: Sequence[Any] = column(rows, step.column)
    if step.at_least is not None or step.at_most is not None:
        values = numbers(rows, step.column)
    elif step.min_words is not None or step.max_words is not None:
        values = texts(rows, step.column)
    return take(rows, [i for i, value in enumerate(values) if value is not None and _satisfies(step, value)])


@apply.register(Threshold)
def _threshold(step: Threshold, rows: Dataset, scope: str) -> Dataset:
    rated = [(i, value) for i, value in enumerate(numbers(rows, step.column)) if value is not None]
    kept = [(i, value) for i, value in rated if value < step.below or value > step.above]
    labels = [step.high if value > step.above else step.low for _, value in kept]
    return with_column(take(rows, [i for i, _ in kept]), step.into, labels)


@apply.register(Balance)
def _balance(step: Balance, rows: Dataset, scope: str) -> Dataset:
    groups: dict[str, list[int]] = defaultdict(list)
    for index, value in enumerate(column(rows, step.column)):
        if value is not None:
            groups[json.dumps(value, default=str)].append(index)
    size = min((len(group) for group in groups.values()), default=0)
    rank = _ranks(rows, f"balance/{scope}")
    return take(rows, sorted(index for group in groups.values() for index in _lowest(group, rank, size)))


@apply.register(Sample)
def _sample(step: Sample, rows: Dataset, scope: str) -> Dataset:
    return choose(rows, step.n, f"sample/{scope}/{step.seed}")


@apply.register(Dedup)
def _dedup(step: Dedup, rows: Dataset, scope: str) -> Dataset:
    columns = [column(rows, name) for name in step.columns]
    streams = column(rows, STREAM)
    order = {name: place for place, name in enumerate(dict.fromkeys(streams))}
    best: dict[tuple[str, ...], tuple[int, str, int]] = {}
    for index, (key, stream, *values) in enumerate(zip(column(rows, KEY), streams, *columns, strict=True)):
        text = tuple(normalise(str(value), step.ignore_case) for value in values)
        candidate = (order[stream], key, index)
        best[text] = min(best.get(text, candidate), candidate)
    return take(rows, sorted(index for _, _, index in best.values()))


@apply.register(Rename)
def _rename(step: Rename, rows: Dataset, scope: str) -> Dataset:
    for old in step.columns:
        require(rows, old)
    names = Counter(step.columns.get(name, name) for name in rows.column_names)
    for name, times in names.items():
        if times > 1:
            raise PlanError(f"two columns would be named '{name}'; rename the other one too")
    return rows.rename_columns(step.columns)


@apply.register(HashSplit)
def _hash_split(step: HashSplit, rows: Dataset, scope: str) -> Dataset:
    if step.columns is None:
        contents = column(rows, KEY)
    else:
        values = zip(*[column(rows, name) for name in step.columns], strict=True)
        contents = [json.dumps(chosen, ensure_ascii=False, default=str) for chosen in values]
    # No scope in this hash: a row falls on one side wherever, and in whatever stream, it is split.
    places = [(_digest(content, "split") >> 11) / 2**53 for content in contents]
    return take(rows, [index for index, place in enumerate(places) if step.start <= place < step.stop])


@apply.register(Shuffle)
def _shuffle(step: Shuffle, rows: Dataset, scope: str) -> Dataset:
    rank = _ranks(rows, f"shuffle/{step.seed}")
    return take(rows, sorted(range(len(rows)), key=rank.__getitem__))


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


def choose(rows: Dataset, n: int, salt: str) -> Dataset:
    """At most `n` rows in their order, those of lowest salted hash: a larger n extends a smaller one."""
    if len(rows) <= n:
        return rows
    return take(rows, sorted(_lowest(range(len(rows)), _ranks(rows, salt), n)))


def require(rows: Dataset, name: str) -> None:
    """Raise PlanError for a column that the rows lack, with those they have."""
    if name not in rows.column_names:
        raise PlanError(f"no column '{name}'; the rows have: {', '.join(visible(rows.column_names))}")


def visible(names: Sequence[str]) -> list[str]:
    """The columns that are not the builder's own."""
    return [name for name in names if not name.startswith(RESERVED)]


def column(rows: Dataset, name: str) -> list[Any]:
    """A column's values. Raises PlanError if there is no such column."""
    require(rows, name)
    values: list[Any] = arrow(rows).column(name).to_pylist()
    return values


def numbers(rows: Dataset, name: str) -> list[float | None]:
    """A numeric column's values; what is not finite counts as missing. Raises PlanError for other columns."""
    values = column(rows, name)
    for value in values:
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise PlanError(f"column '{name}' holds values like {_short(value)}, not numbers")
    return [value if value is not None and math.isfinite(value) else None for value in values]


def texts(rows: Dataset, name: str) -> list[str | None]:
    """A text column's values. Raises PlanError for other columns."""
    values = column(rows, name)
    for value in values:
        if value is not None and not isinstance(value, str):
            raise PlanError(f"column '{name}' holds values like {_short(value)}, not text with words")
    return values


def with_column(rows: Dataset, name: str, values: Sequence[Scalar]) -> Dataset:
    """The rows with a column added, or replaced in its place."""
    import pyarrow as pa

    table = arrow(rows)
    added = pa.array(values)
    if name not in table.column_names:
        return _dataset(table.append_column(name, added))
    return _dataset(table.set_column(table.column_names.index(name), name, added))


def take(rows: Dataset, indices: Sequence[int]) -> Dataset:
    """The rows at these places, as a table of their own: `Dataset.select` leaves a slow indirection."""
    import pyarrow as pa

    return _dataset(arrow(rows).take(pa.array(indices, type=pa.int64())))


def arrow(rows: Dataset) -> pa.Table:
    """The rows as an Arrow table, in their order."""
    return rows.with_format("arrow")[:]


def normalise(text: str, ignore_case: bool) -> str:
    """Text as `Dedup` compares it: Unicode NFC and single spaces; without case, NFKC and case-folded."""
    if ignore_case:
        text = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(unicodedata.normalize("NFC", text).split())


def _satisfies(step: Filter, value: Any) -> bool:
    words = len(value.split()) if isinstance(value, str) else 0
    return (
        (step.equals is None or _equal(value, step.equals))
        and (step.one_of is None or any(_equal(value, option) for option in step.one_of))
        and (step.at_least is None or value >= step.at_least)
        and (step.at_most is None or value <= step.at_most)
        and (step.min_words is None or words >= step.min_words)
        and (step.max_words is None or words <= step.max_words)
    )


def _equal(value: Any, wanted: Scalar) -> bool:
    """Equal and of one kind: 1 is 1.0, but not True."""
    return bool(value == wanted) and isinstance(value, bool) == isinstance(wanted, bool)


def _concatenate(streams: Sequence[Dataset]) -> Dataset:
    """One table: columns are united, and those of different kinds become text."""
    import pyarrow as pa

    tables = [arrow(stream) for stream in streams]
    fields: dict[str, pa.Field] = {}
    for field in (field for table in tables for field in table.schema):
        fields[field.name] = _unite(fields.get(field.name, field), field)
    schema = pa.schema(list(fields.values()))
    alike = [pa.table([_cast(table, field) for field in schema], schema=schema) for table in tables]
    return _dataset(pa.concat_tables(alike))


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


def _dataset(table: pa.Table) -> Dataset:
    from datasets import Dataset

    return Dataset(table, fingerprint="recipe")


def _ranks(rows: Dataset, salt: str) -> list[int]:
    return [_digest(key, salt) for key in column(rows, KEY)]


def _lowest(indices: Sequence[int], rank: Sequence[int], n: int) -> list[int]:
    return heapq.nsmallest(n, indices, key=lambda index: (rank[index], index))


def _digest(content: str, salt: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{salt}\0{content}".encode(), digest_size=8).digest())


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
