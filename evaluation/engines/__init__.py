"""Inference engines by name. To add one: a module here and a line in `ENGINES`, or an entry point `trex.engines`."""

from __future__ import annotations

from ...registry import Registry
from .protocol import Completion, InferenceEngine, OpenEngine, Sampling

__all__ = ["DEFAULT_ENGINE", "ENGINES", "Completion", "InferenceEngine", "OpenEngine", "Sampling"]

DEFAULT_ENGINE = "transformers"

ENGINES = Registry[OpenEngine](
    "inference engine",
    "trex.engines",
    {"transformers": f"{__name__}.transformers_engine:TransformersEngine"},
)
