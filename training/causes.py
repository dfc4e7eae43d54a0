"""Why a training cannot start or has failed: causes that repair rules understand."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Cause = Literal[
    "too_long", "empty", "out_of_memory", "nan_loss", "no_eos", "timeout", "cancelled", "crash", "disk_full"
]


class Problem(BaseModel):
    """One reason not to start a training, with its cause."""

    model_config = ConfigDict(frozen=True)

    cause: Cause
    message: str
