"""Full fine-tuning: every weight of the base model is trained, and stored in float32."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from ...errors import IntegrityError
from ...evaluation.full_weights import CONFIG, TENSORS, load_full_weights, plain_config
from ...files import read_json, write_json
from .protocol import WeightsSettings

_FLOAT = 4  # bytes; weights and optimiser states are float32
_COPIES = 8  # two sealed checkpoints (weights and two Adam moments each) and two rungs' exports


class FullWeights(WeightsSettings):
    """All weights. A learning rate of 1e-6 to 1e-4 is usual, a tenth or less of that of an adapter."""

    kind: Literal["full"] = "full"
    embeddings: bool = Field(
        default=True, description="Train the embeddings and the output layer too; without, they stay"
    )


class Full:
    """See `protocol.Weights`."""

    kind = "full"
    settings = FullWeights
    may_change = frozenset({"embeddings"})

    def describe(self, settings: FullWeights) -> str:
        """See `protocol.Weights`."""
        return "all weights" if settings.embeddings else "all weights but the embeddings"

    def effective(self, settings: FullWeights) -> dict[str, Any]:
        """See `protocol.Weights`."""
        return settings.model_dump()

    def make(self, settings: FullWeights, base: Any, seed: int) -> Any:
        """The base model itself, trainable; nothing is drawn from the seed. See `protocol.Weights`."""
        import transformers

        transformers.set_seed(seed)
        base.requires_grad_(True)
        if not settings.embeddings:
            for part in (base.get_input_embeddings(), base.get_output_embeddings()):
                part.requires_grad_(False)
        return base

    def load(self, model: Any, folder: Path) -> None:
        """See `protocol.Weights`."""
        load_full_weights(model, folder)

    def save(self, model: Any, folder: Path, state_dict: dict[str, Any] | None = None) -> None:
        """All weights under the model's own names, tied ones once; see `protocol.Weights`."""
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: weights.detach().contiguous() for name, weights in model.named_parameters()}
        save_file(tensors, folder / TENSORS, metadata={"format": "pt"})
        write_json(folder / CONFIG, plain_config(model))

    def export(self, checkpoint: Path, target: Path, base_model: Path) -> None:
        """See `protocol.Weights`."""
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for name in (TENSORS, CONFIG):
            shutil.copyfile(checkpoint / name, target / name)

    def verify(self, folder: Path) -> None:
        """See `protocol.Weights`."""
        try:
            complete = all(
                (folder / name).is_file() and (folder / name).stat().st_size for name in (TENSORS, CONFIG)
            )
            config = read_json(folder / CONFIG) if complete else None
        except (OSError, ValueError, RecursionError) as error:
            raise IntegrityError(f"{folder} contains no complete model: {error}") from error
        if not isinstance(config, dict) or "model_type" not in config:
            raise IntegrityError(f"{folder} contains no complete model: train it again")

    def disk_bytes(self, settings: FullWeights, base_model: Path) -> int:
        """As many weights as the base model's files hold; see `protocol.Weights`."""
        return _count(base_model) * _FLOAT * _COPIES


def _count(base_model: Path) -> int:
    """The number of weights in the base model's files, from their headers."""
    import json
    import math

    total = 0
    for path in sorted(base_model.glob("*.safetensors")):
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        total += sum(math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")
    return total


FULL = Full()
