"""Kinds of weights: what training produces, one file per kind; see `protocol.Weights`.

To add one: an object in a file here and a line in `WEIGHTS`, or in another package by an entry point of the group
`trex.weights` whose name is the kind.
"""

from __future__ import annotations

from typing import Any

from ...errors import PlanError
from ...registry import Registry
from .protocol import Weights, WeightsSettings

WEIGHTS = Registry[Weights[Any]](
    "kind of weights", "trex.weights", {"lora": f"{__name__}.lora:LORA", "full": f"{__name__}.full:FULL"}
)


def continued(settings: WeightsSettings, earlier: WeightsSettings) -> WeightsSettings:
    """The settings with which a training continues from weights of `earlier`: what may not change is earlier's.

    Raises PlanError for another kind of weights.
    """
    if settings.kind != earlier.kind:
        raise PlanError(
            f"weights of kind {settings.kind!r} can't continue from the parent's of kind {earlier.kind!r}: "
            f"use {earlier.kind!r}, or start from 'base'"
        )
    kept = settings.model_dump(include=set(weights_of(settings).may_change))
    return earlier.model_copy(update=kept)


def weights_of(settings: WeightsSettings) -> Weights[Any]:
    """The kind of weights of these settings. Raises InputError if its package is not installed."""
    return WEIGHTS.load(settings.kind)
