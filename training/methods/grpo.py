"""Group relative policy optimisation (Shao et al., 2024) with the task's metric as the reward, by `trl.GRPOTrainer`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .sampling import SampledMethod, SampledStage


class GrpoStage(SampledStage):
    """Samples answers to the rows' questions and learns from the task's metric on them, relative to their group.

    Answers are scored in the worker, on training rows alone. A question counts as many examples as it has answers.
    """

    method: Literal["grpo"] = "grpo"
    loss: Literal["grpo", "bnpo", "dr_grpo", "dapo"] = Field(
        default="dapo", description="TRL's `loss_type`: how the losses of tokens are averaged"
    )
    scale_rewards: Literal["group", "batch", "none"] = Field(
        default="group", description="Whose standard deviation advantages are divided by"
    )


class Grpo(SampledMethod[GrpoStage]):
    """See `protocol.Method`."""

    name = "grpo"
    stage = GrpoStage
    trainer = f"{__package__}.grpo_trainer:train"


GRPO = Grpo()
