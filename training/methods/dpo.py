"""Direct preference optimisation (Rafailov et al., 2023) and its variants, by `trl.DPOTrainer`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, model_validator

from .pair_method import PairMethod, PairStage

Loss = Literal[
    "sigmoid", "sigmoid_norm", "hinge", "ipo", "robust", "exo_pair", "nca_pair", "bco_pair", "sppo_hard",
    "aot", "aot_unpaired", "apo_zero", "apo_down", "discopop",
]  # fmt: skip
_SMOOTHED = ("robust", "exo_pair")


class DpoStage(PairStage):
    """Learns which of two answers is better, relative to the weights that the stage begins with."""

    method: Literal["dpo"] = "dpo"
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


class Dpo(PairMethod[DpoStage]):
    """See `protocol.Method`."""

    name = "dpo"
    stage = DpoStage
    trainer = f"{__package__}.dpo_trainer:train"
    search_space: Mapping[str, tuple[float, float]] = {"learning_rate": (1e-7, 1e-3), "beta": (0.01, 1)}


DPO = Dpo()
