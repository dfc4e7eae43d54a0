"""Continued pretraining: cross entropy on every token of plain text, by `trl.SFTTrainer`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field

from ..causes import Problem
from ..data.render import Contents
from .prompt_completion import measure_rows, wrong_kind
from .protocol import RowMeasurement, RowSchema
from .schedule import ScheduledMethod, ScheduledStage

_CUT = "cut rows into parts by the steps `compute` (split, lines) and `explode`"


class PretrainingStage(ScheduledStage):
    """Continues pretraining on plain text without a chat template: each row is a document, with a loss on all of it."""

    method: Literal["pretraining"] = "pretraining"
    learning_rate: float = Field(default=2e-4, gt=0, le=1e-1, description="Peak learning rate of AdamW")
    max_length: int = Field(
        default=512, ge=16, le=32_768, description="Tokens of a document; longer ones are repaired or refused"
    )


class Pretraining(ScheduledMethod[PretrainingStage]):
    """See `protocol.Method`."""

    name = "pretraining"
    stage = PretrainingStage
    row_schema: RowSchema = "plain_text"
    trainer = f"{__package__}.pretraining_trainer:train"
    search_space: Mapping[str, tuple[float, float]] = {"learning_rate": (1e-6, 2e-2), "batch_size": (1, 512)}

    def measure(self, stage: PretrainingStage, dataset: Path, base_model: Path) -> RowMeasurement:
        """See `protocol.Method`."""
        rows = measure_rows(str(dataset), str(base_model))
        unfit = {"too_long": sum(row.total > stage.max_length for row in rows.tokens)}
        problems = rows.too_long(stage.max_length, _CUT)
        if wrong := wrong_kind(self.row_schema, rows):
            problems = [Problem(cause="wrong_rows", message=wrong)]
        return RowMeasurement(len(rows.tokens), rows.longest, unfit, problems)

    def plan_faults(self, stage: PretrainingStage, contents: Contents, examples: int) -> list[str]:
        """See `protocol.Method`."""
        return self.schedule_faults(stage, contents, examples)


PRETRAINING = Pretraining()
