"""Odds ratio preference optimisation (Hong et al., 2024), by `trl.experimental.orpo.ORPOTrainer`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from .pair_method import PairMethod, PairStage


class OrpoStage(PairStage):
    """Supervised fine-tuning on the better answer with a penalty on the worse one; no reference model.

    Experimental in TRL: it may change. The cross entropy is over the question and the better answer, as in TRL.
    """

    method: Literal["orpo"] = "orpo"
    beta: float = Field(default=0.1, gt=0, le=10, description="Weight of the odds ratio (λ in the paper)")


class Orpo(PairMethod[OrpoStage]):
    """See `protocol.Method`."""

    name = "orpo"
    stage = OrpoStage
    trainer = f"{__package__}.orpo_trainer:train"
    search_space: Mapping[str, tuple[float, float]] = {"learning_rate": (1e-7, 1e-3), "beta": (0.01, 1)}


ORPO = Orpo()
