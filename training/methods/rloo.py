"""REINFORCE leave-one-out (Ahmadian et al., 2024) with the task's metric as the reward, by `trl.RLOOTrainer`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .sampling import SampledMethod, SampledStage


class RlooStage(SampledStage):
    """Samples answers as `grpo` does; each is compared with the mean reward of the others in its group.

    The whole answer is one action, and the KL divergence is subtracted from its reward.
    """

    method: Literal["rloo"] = "rloo"
    beta: float = Field(
        default=0.05, ge=0, le=1, description="Weight of the KL divergence from the stage's beginning"
    )
    normalize_advantages: bool = Field(
        default=False, description="Divide advantages by their standard deviation in the batch"
    )


class Rloo(SampledMethod[RlooStage]):
    """See `protocol.Method`."""

    name = "rloo"
    stage = RlooStage
    trainer = f"{__package__}.rloo_trainer:train"


RLOO = Rloo()
