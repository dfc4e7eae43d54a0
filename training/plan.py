"""A training plan: every choice an agent may make about training, declared and bounded.

The seed is not here on purpose: choosing among seeds is choosing among noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Layers = Literal["all", "upper_half", "upper_quarter"]
Module = Literal["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


class TrainingPlan(BaseModel):
    """LoRA supervised fine-tuning, loss on the completion only.

    Fields follow the names of `transformers.TrainingArguments` and `peft.LoraConfig`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    learning_rate: float = Field(default=1e-3, gt=0, le=1e-1)
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup"] = "linear"
    warmup_ratio: float = Field(default=0.05, ge=0, le=0.5)
    epochs: float = Field(
        default=1.0, gt=0, le=20, description="Passes over the data set; ignored with max_steps"
    )
    max_steps: int | None = Field(
        default=None, ge=1, le=100_000, description="Full schedule in optimiser steps"
    )
    batch_size: int = Field(default=16, ge=1, le=512)
    gradient_accumulation: int = Field(default=1, ge=1, le=128)
    max_length: int = Field(
        default=256, ge=16, le=32_768, description="Tokens; longer rows are repaired or refused"
    )
    weight_decay: float = Field(default=0.0, ge=0, le=1)
    max_grad_norm: float = Field(default=1.0, gt=0, le=100)
    neftune_noise_alpha: float | None = Field(default=None, ge=0, le=50)
    lora_rank: int = Field(default=8, ge=1, le=256)
    lora_alpha: int = Field(default=16, ge=1, le=512)
    lora_dropout: float = Field(default=0.0, ge=0, le=0.9)
    target_modules: tuple[Module, ...] = Field(default=("q_proj", "v_proj"), min_length=1)
    append_eos: bool = Field(default=False, description="For chat templates that leave the end marker out")
    layers: Layers = Field(
        default="all", description="Where LoRA sits; nothing flows back through layers below"
    )

    def total_steps(self, rows: int) -> int:
        """Optimiser steps of the full schedule on a data set of that many rows."""
        if self.max_steps is not None:
            return self.max_steps
        per_epoch = -(-rows // (self.batch_size * self.gradient_accumulation))
        return max(1, round(per_epoch * self.epochs))


def rung_steps(total_steps: int, fractions: Sequence[float]) -> list[int]:
    """Where each rung ends, in steps of the full schedule: increasing, the last one is the whole.

    Fractions lie in (0, 1]; rungs that would coincide on a short schedule are merged.
    """
    ends = sorted({max(1, round(total_steps * fraction)) for fraction in fractions} | {total_steps})
    return [end for end in ends if end <= total_steps]
