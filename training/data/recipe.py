"""Data recipes: a declarative list of operators that turns named sources into a training set.

A recipe names sources, never paths; what a task does not list cannot be loaded. Recipes are data: they are
validated, fingerprinted, previewed and cached, and none of them is ever executed as code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypeAlias, Union

from pydantic import BaseModel, ConfigDict, Field

from .operators import operators
from .operators.protocol import Operator

if TYPE_CHECKING:
    Step: TypeAlias = Operator
else:
    Step = Annotated[Union[tuple(operators().values())], Field(discriminator="op")]  # noqa: UP007


class Stream(BaseModel):
    """One source, its own steps, and its weight in the mix."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    source: str
    steps: tuple[Step, ...] = ()
    weight: float = Field(
        default=1.0, gt=0, le=1000, description="Share in the mix, relative, if `rows` is set"
    )


class DataRecipe(BaseModel):
    """Streams are loaded, mixed, run through common steps, and rendered with the task's prompt.

    With `rows`, the mix takes rows from the streams in proportion to their weights, at most `rows` in all
    (a stream with fewer rows than its share gives what it has); without, it concatenates them whole.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    streams: tuple[Stream, ...] = Field(min_length=1)
    rows: int | None = Field(default=None, ge=1, le=50_000)
    steps: tuple[Step, ...] = ()
