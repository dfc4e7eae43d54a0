"""Kahneman-Tversky optimisation (Ethayarajh et al., 2024), by `trl.KTOTrainer`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from ..causes import Problem
from ..data.render import Contents
from .prompt_completion import measure_rows, wrong_kind
from .protocol import RowMeasurement, RowSchema
from .schedule import ScheduledMethod, ScheduledStage


class KtoStage(ScheduledStage):
    """Learns from answers that are each marked good or bad, relative to the weights that the stage begins with.

    Good and bad answers need not be to the same questions. The KL divergence is estimated in each batch.
    """

    method: Literal["kto"] = "kto"
    learning_rate: float = Field(default=5e-5, gt=0, le=1e-2, description="Peak learning rate of AdamW")
    batch_size: int = Field(
        default=8, ge=1, le=256, description="Rows of one forward pass; 2 or more with the loss kto"
    )
    loss: Literal["kto", "apo_zero_unpaired"] = Field(
        default="kto",
        description="TRL's `loss_type`; apo_zero_unpaired (D'Oosterlinck et al., 2024) has no KL term",
    )
    beta: float = Field(
        default=0.1, gt=0, le=10, description="How close the model stays to the weights it began with"
    )
    desirable_weight: float = Field(
        default=1.0, ge=0, le=100, description="Weight of good answers; raise it if there are fewer of them"
    )
    undesirable_weight: float = Field(default=1.0, ge=0, le=100, description="Weight of bad answers")

    @model_validator(mode="after")
    def _batch_and_weights_fit(self) -> KtoStage:
        if self.loss == "kto" and self.batch_size < 2:
            raise ValueError(
                "the loss kto estimates the KL divergence from other rows of the batch: set batch_size to 2, or use "
                "loss apo_zero_unpaired"
            )
        if not self.desirable_weight and not self.undesirable_weight:
            raise ValueError("both weights are 0, so nothing is learnt: set desirable_weight to 1")
        return self


class Kto(ScheduledMethod[KtoStage]):
    """See `protocol.Method`."""

    name = "kto"
    stage = KtoStage
    row_schema: RowSchema = "unpaired_preference"
    trainer = f"{__package__}.kto_trainer:train"
    search_space: Mapping[str, tuple[float, float]] = {"learning_rate": (1e-7, 1e-3), "beta": (0.01, 1)}
    fewest_rows = 2

    def measure(self, stage: KtoStage, dataset: Path, base_model: Path) -> RowMeasurement:
        """See `protocol.Method`."""
        rows = measure_rows(str(dataset), str(base_model))
        unfit = {
            "too_long": sum(row.total > stage.max_length for row in rows.tokens),
            "not_rendered": sum(not row.total for row in rows.tokens),
        }
        problems = rows.too_long(stage.max_length)
        if wrong := wrong_kind(self.row_schema, rows):
            problems = [Problem(cause="wrong_rows", message=wrong)]
        return RowMeasurement(len(rows.tokens), rows.longest, unfit, problems)

    def plan_faults(self, stage: KtoStage, contents: Contents, examples: int) -> list[str]:
        """See `protocol.Method`."""
        return self.schedule_faults(stage, contents, examples)


KTO = Kto()
