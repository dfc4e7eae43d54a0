"""Training methods: what a stage of a training plan can do, one file a method; see `protocol.Method`.

To add one: an object in a file here and a line in `METHODS`, or in another package by an entry point of the group
`trex.methods` whose name is the method's `name`.
"""

from __future__ import annotations

from typing import Any

from ...registry import Registry
from .protocol import Method, Stage

METHODS = Registry[Method[Any]](
    "training method",
    "trex.methods",
    {
        "sft": f"{__name__}.sft:SFT",
        "pretraining": f"{__name__}.pretraining:PRETRAINING",
        "dpo": f"{__name__}.dpo:DPO",
        "kto": f"{__name__}.kto:KTO",
        "orpo": f"{__name__}.orpo:ORPO",
        "grpo": f"{__name__}.grpo:GRPO",
        "rloo": f"{__name__}.rloo:RLOO",
        "distillation": f"{__name__}.distillation:DISTILLATION",
    },
)


def method_of(stage: Stage) -> Method[Any]:
    """The method of a stage. Raises InputError if the package that brings it is not installed."""
    return METHODS.load(stage.method)
