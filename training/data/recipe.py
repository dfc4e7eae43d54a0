"""Data recipes: a declarative list of operators that turns named sources into a training set.

A recipe names sources, never paths; what a task does not list cannot be loaded. Recipes are data: they are
validated, fingerprinted, previewed and cached, and none of them is ever executed as code.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

Scalar = str | int | float | bool

RESERVED = "__"
"""Columns that begin so are the builder's own: a row's content key and its stream."""


def _column_name(name: str) -> str:
    if not name or name.startswith(RESERVED):
        raise ValueError(f"a column name must not be empty or begin with {RESERVED!r}, got {name!r}")
    return name


Column = Annotated[str, AfterValidator(_column_name)]


class _Step(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Filter(_Step):
    """Keep rows whose column satisfies every condition given; a row without a value satisfies none."""

    op: Literal["filter"] = "filter"
    column: Column
    equals: Scalar | None = None
    one_of: tuple[Scalar, ...] | None = None
    at_least: float | None = None
    at_most: float | None = None
    min_words: int | None = Field(default=None, ge=0)
    max_words: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _has_a_condition(self) -> Filter:
        if not self.model_dump(exclude={"op", "column"}, exclude_none=True):
            raise ValueError("give at least one of equals, one_of, at_least, at_most, min_words, max_words")
        ranged = self.at_least is not None or self.at_most is not None
        if ranged and (self.min_words is not None or self.max_words is not None):
            raise ValueError("at_least and at_most are for numbers, min_words and max_words for text")
        return self


class Threshold(_Step):
    """Turn a numeric column into a label: above `above` → `high`, below `below` → `low`, between: dropped."""

    op: Literal["threshold"] = "threshold"
    column: Column
    into: Column = "label"
    below: float = 0.0
    above: float = 0.0
    low: Scalar = "negative"
    high: Scalar = "positive"

    @model_validator(mode="after")
    def _sides_are_apart(self) -> Threshold:
        if self.below > self.above:
            raise ValueError(f"below ({self.below}) must not lie over above ({self.above})")
        if type(self.low) is not type(self.high):
            raise ValueError(f"low ({self.low!r}) and high ({self.high!r}) must be of one kind")
        return self


class Balance(_Step):
    """The same number of rows for every value of a column, by hash order: the rarest sets the number."""

    op: Literal["balance"] = "balance"
    column: Column


class Sample(_Step):
    """At most `n` rows, by hash with `seed`: the same rows on every machine; a larger n extends a smaller."""

    op: Literal["sample"] = "sample"
    n: int = Field(ge=1)
    seed: int = 0


class Dedup(_Step):
    """Keep one row of those whose normalised text in `columns` is the same.

    An earlier stream goes before a later one; within a stream the content hash decides, so that the order of
    a file does not. Normalised: Unicode NFC and single spaces.
    """

    op: Literal["dedup"] = "dedup"
    columns: tuple[Column, ...] = Field(min_length=1)
    ignore_case: bool = Field(default=False, description="Wrong for SMILES, formulas and code")


class Rename(_Step):
    """Rename columns: {old: new}."""

    op: Literal["rename"] = "rename"
    columns: dict[Column, Column] = Field(min_length=1)


class HashSplit(_Step):
    """Keep rows whose content hash falls in [start, stop) of [0, 1): disjoint ranges keep disjoint rows."""

    op: Literal["hash_split"] = "hash_split"
    start: float = Field(default=0.0, ge=0, lt=1)
    stop: float = Field(default=1.0, gt=0, le=1)
    columns: tuple[Column, ...] | None = Field(
        default=None, min_length=1, description="Hash only these columns; None hashes the source's whole row"
    )

    @model_validator(mode="after")
    def _range_is_open(self) -> HashSplit:
        if self.start >= self.stop:
            raise ValueError(f"start ({self.start}) must lie below stop ({self.stop})")
        return self


class Shuffle(_Step):
    """Order rows by a seeded hash."""

    op: Literal["shuffle"] = "shuffle"
    seed: int = 0


Step = Annotated[
    Filter | Threshold | Balance | Sample | Dedup | Rename | HashSplit | Shuffle, Field(discriminator="op")
]


class Stream(_Step):
    """One source, its own steps, and its weight in the mix."""

    source: str
    steps: tuple[Step, ...] = ()
    weight: float = Field(
        default=1.0, gt=0, le=1000, description="Share in the mix, relative, if `rows` is set"
    )


class DataRecipe(_Step):
    """Streams are loaded, mixed, run through common steps, and rendered with the task's prompt.

    With `rows`, the mix takes rows from the streams in proportion to their weights, at most `rows` in all
    (a stream that runs dry gives what it has); without, it concatenates them whole.
    """

    streams: tuple[Stream, ...] = Field(min_length=1)
    rows: int | None = Field(default=None, ge=1, le=50_000)
    steps: tuple[Step, ...] = ()
