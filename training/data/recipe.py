"""Data recipes: a declarative list of operators that makes a training set from named sources.

A recipe contains names of sources, not paths. Only sources that the task lists can be loaded. A recipe is data, not
code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypeAlias, Union

from pydantic import BaseModel, Field

from .operators import operators
from .operators.protocol import Operator
from .row_kinds import RowKind

if TYPE_CHECKING:
    Step: TypeAlias = Operator
else:
    Step = Annotated[Union[tuple(operators().values())], Field(discriminator="op")]  # noqa: UP007


class Stream(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    """One source, its own steps, and its weight in the mix."""

    source: str
    steps: tuple[Step, ...] = ()
    weight: float = Field(
        default=1.0, gt=0, le=1000, description="Share in the mix, relative, if `rows` is set"
    )
    max_rows: int | None = Field(default=None, ge=1, description="Rows of this stream in the mix at most")


class DataRecipe(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    """Loads streams, mixes them, applies the common steps, and renders the rows with the task's prompt.

    With `rows`, the mix has at most `rows` rows, selected from the streams in proportion to their weights (from a
    stream with fewer rows than its share all are used). Without it, all rows are concatenated. `temperature` makes
    the weights depend on the streams' sizes.
    """

    streams: tuple[Stream, ...] = Field(min_length=1)
    rows: int | None = Field(default=None, ge=1, le=50_000)
    temperature: float | None = Field(
        default=None,
        ge=1,
        le=100,
        description="With `rows`: weights count times rows^(1/temperature); 1: by size, larger: more evenly",
    )
    output: RowKind = Field(
        default="answers",
        description="pairs: a worse answer too, from the column `rejected`; unpaired: answers marked good or bad by "
        "the column `desirable`, or bad ones from `rejected`; text: plain text from the column `text`",
    )
    steps: tuple[Step, ...] = ()

    @property
    def all_steps(self) -> tuple[Operator, ...]:
        """The common steps, then those of each stream."""
        return (*self.steps, *(step for stream in self.streams for step in stream.steps))

    @property
    def uses_models(self) -> bool:
        """Whether a step asks a model."""
        return any(step.model_choice() is not None for step in self.all_steps)
