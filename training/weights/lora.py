"""LoRA (Hu et al., 2021): a low-rank adapter on some linear layers of a frozen base model, made by PEFT."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from ...errors import IntegrityError, PlanError
from ...evaluation.causal_models import measure, shapes_of
from ...files import read_json, write_json
from .protocol import WeightsSettings
from .targets import NAMES, Layers, Targets, select_layers

_TENSORS, _CONFIG = "adapter_model.safetensors", "adapter_config.json"
_FLOAT = 4  # bytes; LoRA weights and optimiser states are float32
_COPIES = 8  # two sealed checkpoints (weights and two Adam moments each) and two rungs' adapters


class LoraWeights(WeightsSettings):
    """A LoRA adapter on a model of any architecture; the model itself says which layers the targets are."""

    kind: Literal["lora"] = "lora"
    rank: int = Field(default=8, ge=1, le=256, description="Rank of the two factors of each adapted matrix")
    alpha: int = Field(default=16, ge=1, le=512, description="The update is scaled by alpha / rank")
    dropout: float = Field(default=0.0, ge=0, le=0.9, description="Dropout on the adapter's input")
    targets: Targets = Field(
        default="query-value",
        description="Linear layers that get an adapter: a group, or names as in the model, e.g. ['q_proj']",
    )
    layers: Layers = Field(
        default="all", description="Layers with an adapter; no gradient is computed below them"
    )


class Lora:
    """See `protocol.Weights`."""

    kind = "lora"
    settings = LoraWeights
    may_change = frozenset({"dropout"})

    def describe(self, settings: LoraWeights) -> str:
        """See `protocol.Weights`."""
        targets = settings.targets
        names = NAMES[targets] if isinstance(targets, str) else ", ".join(dict.fromkeys(targets))
        where = "every layer" if settings.layers == "all" else f"the {settings.layers.replace('_', ' ')}"
        return f"LoRA, rank {settings.rank}, on {names} in {where}"

    def effective(self, settings: LoraWeights) -> dict[str, Any]:
        """See `protocol.Weights`."""
        targets = settings.targets
        return settings.model_dump() | {
            "targets": targets if isinstance(targets, str) else sorted(set(targets))
        }

    def make(self, settings: LoraWeights, base: Any, seed: int) -> Any:
        """See `protocol.Weights`."""
        import transformers
        from peft import LoraConfig, get_peft_model

        shapes = measure(base)
        chosen = select_layers(settings.targets, settings.layers, shapes.linear, shapes.layers)
        transformers.set_seed(seed)
        config = LoraConfig(
            task_type="CAUSAL_LM",
            r=settings.rank,
            lora_alpha=settings.alpha,
            lora_dropout=settings.dropout,
            target_modules=[layer.name for layer in chosen],
        )
        model = get_peft_model(base, config)
        adapted = {
            name for name, module in model.get_base_model().named_modules() if hasattr(module, "lora_A")
        }
        if adapted != {layer.name for layer in chosen}:
            raise PlanError(f"PEFT adapts other layers of the base model than {settings.targets} names")
        return model

    def load(self, model: Any, folder: Path) -> None:
        """See `protocol.Weights`."""
        from peft import get_peft_model_state_dict, set_peft_model_state_dict
        from safetensors.torch import load_file

        tensors = load_file(folder / _TENSORS)
        if differing := tensors.keys() ^ get_peft_model_state_dict(model).keys():
            raise IntegrityError(f"{folder} has other tensors than this adapter, e.g. {min(differing)}")
        set_peft_model_state_dict(model, tensors)

    def save(self, model: Any, folder: Path, state_dict: dict[str, Any] | None = None) -> None:
        """The adapter alone; see `protocol.Weights`."""
        trained = ["default"]  # not the frozen copy that preference training compares with
        model.save_pretrained(
            str(folder), state_dict=state_dict, save_embedding_layers=False, selected_adapters=trained
        )

    def export(self, checkpoint: Path, target: Path, base_model: Path) -> None:
        """See `protocol.Weights`."""
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        shutil.copyfile(checkpoint / _TENSORS, target / _TENSORS)
        config = read_json(checkpoint / _CONFIG)
        # PEFT stores shortened names of target modules, in the order of a set, and the base model as a path.
        config |= {"target_modules": _adapted(target / _TENSORS), "base_model_name_or_path": base_model.name}
        write_json(target / _CONFIG, dict(sorted(config.items())))

    def verify(self, folder: Path) -> None:
        """See `protocol.Weights`."""
        if not all((folder / name).is_file() for name in (_CONFIG, _TENSORS)):  # never opens a FIFO
            raise IntegrityError(f"{folder} contains no complete LoRA adapter: a file is missing")
        try:
            config = read_json(folder / _CONFIG)
            size = (folder / _TENSORS).stat().st_size
        except (OSError, ValueError, RecursionError) as error:
            raise IntegrityError(f"{folder} contains no complete LoRA adapter: {error}") from error
        kind = config.get("peft_type") if isinstance(config, dict) else None
        if kind != "LORA" or not size:
            raise IntegrityError(f"{folder} contains no LoRA adapter: type {kind}, {size} bytes of tensors")

    def disk_bytes(self, settings: LoraWeights, base_model: Path) -> int:
        """An adapted matrix has `rank · (inputs + outputs)` weights; see `protocol.Weights`."""
        shapes = shapes_of(base_model)
        chosen = select_layers(settings.targets, settings.layers, shapes.linear, shapes.layers)
        sizes = sum(layer.inputs + layer.outputs for layer in chosen)
        return settings.rank * sizes * _FLOAT * _COPIES


def _adapted(tensors: Path) -> list[str]:
    """The full names of the layers that an adapter's file has weights for."""
    from safetensors import safe_open

    with safe_open(tensors, framework="numpy") as file:
        names = {name.removeprefix("base_model.model.").rsplit(".", 2)[0] for name in file.keys()}  # noqa: SIM118
    return sorted(names)


LORA = Lora()
