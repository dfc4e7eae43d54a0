"""The layers that the winner's adapter is on."""

from __future__ import annotations

from ...files import read_json
from .winner_files import WinnerFiles


def adapted_layers(winner: WinnerFiles) -> list[str]:
    """Their full names, e.g. 'model.layers.0.self_attn.q_proj'."""
    return [str(name) for name in read_json(winner.weights / "adapter_config.json")["target_modules"]]
