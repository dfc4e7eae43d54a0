"""Direct preference optimisation (Rafailov et al., 2023) and its variants, by `trl.DPOTrainer`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from ..causes import Problem
from ..data.render import Contents
from .preference_pairs import measure_pairs
from .protocol import RowMeasurement, RowSchema
from .schedule import ScheduledMethod, ScheduledStage

Loss = Literal[
    "sigmoid", "sigmoid_norm", "hinge", "ipo", "robust", "exo_pair", "nca_pair", "bco_pair", "sppo_hard",
    "aot", "aot_unpaired", "apo_zero", "apo_down", "discopop",
]  # fmt: skip
_SMOOTHED = ("robust", "exo_pair")
_NO_PAIRS = (
    "set `output: pairs` in the recipe, and add the step `reject` if the rows have no column `rejected`"
)


class DpoStage(ScheduledStage):
    """Learns which of two answers is better, relative to the weights that the stage begins with."""

    method: Literal["dpo"] = "dpo"
    learning_rate: float = Field(default=5e-5, gt=0, le=1e-2, description="Peak learning rate of AdamW")
    batch_size: int = Field(default=8, ge=1, le=256, description="Pairs of one forward pass")
    loss: Loss = Field(
        default="sigmoid", description="TRL's `loss_type`; sigmoid is DPO, ipo and hinge its variants"
    )
    beta: float = Field(
        default=0.1, gt=0, le=10, description="How close the model stays to the weights it began with"
    )
    label_smoothing: float = Field(
        default=0.0,
        ge=0,
        lt=0.5,
        description="Share of pairs that are wrong; for the losses robust and exo_pair",
    )
    sft_weight: float = Field(
        default=0.0, ge=0, le=10, description="Weight of an added cross entropy on the better answer"
    )

    @model_validator(mode="after")
    def _smoothing_fits_the_loss(self) -> DpoStage:
        if self.label_smoothing and self.loss not in _SMOOTHED:
            raise ValueError(
                f"label_smoothing has no effect on the loss {self.loss}: set it to 0, or use loss robust"
            )
        if self.loss == "exo_pair" and not self.label_smoothing:
            raise ValueError("the loss exo_pair needs label_smoothing > 0: set it to 0.001")
        return self


class Dpo(ScheduledMethod[DpoStage]):
    """See `protocol.Method`."""

    name = "dpo"
    stage = DpoStage
    row_schema: RowSchema = "preference_pair"
    trainer = f"{__package__}.dpo_trainer:train"
    search_space: Mapping[str, tuple[float, float]] = {"learning_rate": (1e-7, 1e-3), "beta": (0.01, 1)}

    def measure(self, stage: DpoStage, dataset: Path, base_model: Path) -> RowMeasurement:
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

    def plan_faults(self, stage: DpoStage, contents: Contents, examples: int) -> list[str]:
        """See `protocol.Method`. A pair counts as two examples."""
        faults = self.schedule_faults(stage, contents, examples // 2)
        if contents.pairs < contents.rows:
            faults.append(
                f"{contents.rows - contents.pairs} of {contents.rows} rows have no worse answer: {_NO_PAIRS}"
            )
        return faults


DPO = Dpo()
