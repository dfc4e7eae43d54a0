"""Causes of a failed training, and of one that cannot start. Repair rules are selected by the cause."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

Cause = Literal[
    "too_long",
    "empty",
    "out_of_memory",
    "nan_loss",
    "timeout",
    "cancelled",
    "crash",
    "disk_full",
    "base_model",
    "wrong_rows",
    "start_weights",
    "no_reward",
    "reward_collapse",
    "length_explosion",
    "kl_explosion",
]


class Problem(BaseModel, frozen=True):
    """A problem that prevents a training from starting."""

    cause: Cause
    message: str
