"""What methods that train on pairs of a better and a worse answer share."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import Field

from ..causes import Problem
from ..data.render import Contents
from .preference_pairs import measure_pairs
from .protocol import RowMeasurement, RowSchema
from .schedule import ScheduledMethod, ScheduledStage

_NO_PAIRS = (
    "set `output: pairs` in the recipe, and add the step `reject` if the rows have no column `rejected`"
)


class PairStage(ScheduledStage):
    """The schedule of a method that trains on pairs."""

    learning_rate: float = Field(default=5e-5, gt=0, le=1e-2, description="Peak learning rate of AdamW")
    batch_size: int = Field(default=8, ge=1, le=256, description="Pairs of one forward pass")


T = TypeVar("T", bound=PairStage)


class PairMethod(ScheduledMethod[T]):
    """The part of `protocol.Method` that follows from pairs."""

    row_schema: RowSchema = "preference_pair"

    def measure(self, stage: T, dataset: Path, base_model: Path) -> RowMeasurement:
        """See `protocol.Method`."""
        rows, measured = measure_pairs(str(dataset), str(base_model))
        pairs = [pair for pair in measured if pair is not None]
        longest = max((pair.longest for pair in pairs), default=0)
        unfit = {
            "too_long": sum(pair.longest > stage.max_length for pair in pairs),
            "without_pair": len(measured) - len(pairs),
        }
        of = f"of {len(measured)} rows" + (" looked at" if len(measured) < rows else "")
        problems = []
        if not pairs:
            problems = [Problem(cause="empty", message=f"no row has two different answers: {_NO_PAIRS}")]
        elif unfit["too_long"]:
            message = (
                f"{unfit['too_long']} {of} are longer than max_length {stage.max_length}; the longest has "
                f"{longest} tokens: raise max_length, or filter long rows out"
            )
            problems = [Problem(cause="too_long", message=message)]
        return RowMeasurement(len(measured), longest, unfit, problems)

    def plan_faults(self, stage: T, contents: Contents, examples: int) -> list[str]:
        """See `protocol.Method`. A pair counts as two examples."""
        faults = self.schedule_faults(stage, contents, examples // 2)
        if contents.pairs < contents.rows:
            faults.append(
                f"{contents.rows - contents.pairs} of {contents.rows} rows have no worse answer: {_NO_PAIRS}"
            )
        return faults
