"""Kinds of weights: what training produces, one file per kind; see `protocol.Weights`.

To add one: an object in a file here and a line in `WEIGHTS`, or in another package by an entry point of the group
`trex.weights` whose name is the kind.
"""

from __future__ import annotations

from typing import Any

from ...registry import Registry
from .protocol import Weights, WeightsSettings

WEIGHTS = Registry[Weights[Any]](
    "kind of weights", "trex.weights", {"lora": f"{__name__}.lora:LORA", "full": f"{__name__}.full:FULL"}
)


def weights_of(settings: WeightsSettings) -> Weights[Any]:
    """The kind of weights of these settings. Raises InputError if its package is not installed."""
    return WEIGHTS.load(settings.kind)
