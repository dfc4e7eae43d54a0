"""The protocol of a kind of weights: how trainable weights are made on a base model, saved and checked.

A kind is one object in a file of its own, registered in `training/weights/__init__.py` or by an entry point
`trex.weights`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict


class WeightsSettings(BaseModel):
    """The settings of a training plan for the weights that it trains."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: str


W = TypeVar("W", bound=WeightsSettings)


class Weights(Protocol[W]):
    """A kind of weights. Only `make`, `load` and `save` may import torch."""

    kind: str
    settings: type[W]
    """The settings: a pydantic model whose fields have bounds and descriptions."""

    may_change: frozenset[str]
    """Settings that may differ from those of the weights that a training continues from; see `continued`."""

    def describe(self, settings: W) -> str:
        """The kind and its settings in a few words, for the model card."""

    def effective(self, settings: W) -> dict[str, Any]:
        """The settings that have an effect. Equal effective settings make the same weights."""

    def make(self, settings: W, base: Any, seed: int) -> Any:
        """A model with new trainable weights on `base`, a `PreTrainedModel` in float32.

        The initial values depend on `seed` only.
        """

    def load(self, model: Any, folder: Path) -> None:
        """Give a model made by `make` the weights of a checkpoint or an export, made with the same settings.

        Raises IntegrityError for weights that are damaged or do not fit.
        """

    def save(self, model: Any, folder: Path, state_dict: dict[str, Any] | None = None) -> None:
        """Write the trainable weights of a model made by `make` into a checkpoint."""

    def export(self, checkpoint: Path, target: Path, base_model: Path) -> None:
        """Copy the weights of a checkpoint into `target`. The bytes are the same on every machine."""

    def verify(self, folder: Path) -> None:
        """Raise IntegrityError if the folder does not contain complete exported weights of this kind."""

    def disk_bytes(self, settings: W, base_model: Path) -> int:
        """An upper estimate of the disk space for the checkpoints and exports of one trial.

        Reads only the configuration of the base model. Raises PlanError if these weights cannot be made on it.
        """
