"""LoRA (Hu et al., 2021): a low-rank adapter on some linear layers of a frozen base model, made by PEFT."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from ...errors import IntegrityError
from ...files import read_json, write_json
from .protocol import WeightsSettings

Layers = Literal["all", "upper_half", "upper_quarter"]
Module = Literal["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]

_TENSORS, _CONFIG = "adapter_model.safetensors", "adapter_config.json"
_FLOAT = 4  # bytes; LoRA weights and optimiser states are float32
_COPIES = 8  # two sealed checkpoints (weights and two Adam moments each) and two rungs' adapters


class LoraWeights(WeightsSettings):
    """A LoRA adapter. Fields follow the names of `peft.LoraConfig`."""

    kind: Literal["lora"] = "lora"
    rank: int = Field(default=8, ge=1, le=256, description="Rank of the two factors of each adapted matrix")
    alpha: int = Field(default=16, ge=1, le=512, description="The update is scaled by alpha / rank")
    dropout: float = Field(default=0.0, ge=0, le=0.9, description="Dropout on the adapter's input")
    target_modules: tuple[Module, ...] = Field(
        default=("q_proj", "v_proj"), min_length=1, description="Linear layers that get an adapter"
    )
    layers: Layers = Field(
        default="all", description="Layers with an adapter; no gradient is computed below them"
    )


class Lora:
    """See `protocol.Weights`."""

    kind = "lora"
    settings = LoraWeights

    def describe(self, settings: LoraWeights) -> str:
        """See `protocol.Weights`."""
        modules = ", ".join(settings.target_modules)
        return f"LoRA, rank {settings.rank}, on {modules} of {settings.layers.replace('_', ' ')} layers"

    def effective(self, settings: LoraWeights) -> dict[str, Any]:
        """See `protocol.Weights`."""
        return settings.model_dump() | {"target_modules": sorted(set(settings.target_modules))}

    def make(self, settings: LoraWeights, base: Any, seed: int) -> Any:
        """See `protocol.Weights`."""
        import transformers
        from peft import LoraConfig, get_peft_model

        count = base.config.get_text_config().num_hidden_layers
        layers = None if settings.layers == "all" else target_layers(settings.layers, count)
        transformers.set_seed(seed)
        config = LoraConfig(
            task_type="CAUSAL_LM",
            r=settings.rank,
            lora_alpha=settings.alpha,
            lora_dropout=settings.dropout,
            target_modules=sorted(settings.target_modules),
            layers_to_transform=layers,
        )
        return get_peft_model(base, config)

    def save(self, model: Any, folder: Path, state_dict: dict[str, Any] | None = None) -> None:
        """The adapter alone; see `protocol.Weights`."""
        model.save_pretrained(str(folder), state_dict=state_dict, save_embedding_layers=False)

    def export(self, checkpoint: Path, target: Path, base_model: Path) -> None:
        """See `protocol.Weights`."""
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        shutil.copyfile(checkpoint / _TENSORS, target / _TENSORS)
        config = read_json(checkpoint / _CONFIG)
        # PEFT stores target modules in the order of a set, and the base model as a path.
        config = {
            key: sorted(value) if isinstance(value, list) else value for key, value in sorted(config.items())
        }
        write_json(target / _CONFIG, config | {"base_model_name_or_path": base_model.name})

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
        config: dict[str, Any] = read_json(base_model / "config.json")
        config = config.get("text_config", config)
        hidden: int = config["hidden_size"]
        heads: int = config["num_attention_heads"]
        width: int = config.get("head_dim") or hidden // heads
        shared: int = (config.get("num_key_value_heads") or heads) * width
        inner: int = config["intermediate_size"]
        outputs = {"q_proj": heads * width, "o_proj": heads * width, "k_proj": shared, "v_proj": shared}
        sizes = (hidden + outputs.get(module, inner) for module in settings.target_modules)
        layers = len(target_layers(settings.layers, config["num_hidden_layers"]))
        return settings.rank * sum(sizes) * layers * _FLOAT * _COPIES


def target_layers(layers: Layers, count: int) -> list[int]:
    """The indices of the layers that get an adapter, in a model with `count` layers."""
    size = {"all": count, "upper_half": count // 2, "upper_quarter": count // 4}[layers]
    return list(range(count - max(1, size), count))


LORA = Lora()
