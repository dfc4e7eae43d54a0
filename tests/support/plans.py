"""Training plans for tests, from settings of the stage and of the weights side by side."""

from __future__ import annotations

from typing import Any

from trex.training.plan import TrainingPlan
from trex.training.weights.lora import LoraWeights


def training_plan(**settings: Any) -> TrainingPlan:
    """A plan of one `sft` stage on LoRA weights. Raises ValidationError for what no plan may hold."""
    return TrainingPlan.model_validate(training_dict(**settings))


def training_dict(**settings: Any) -> dict[str, Any]:
    """The same as JSON, not validated."""
    weights = {name: settings.pop(name) for name in list(settings) if name in LoraWeights.model_fields}
    return {"weights": weights, "stages": [settings]}
