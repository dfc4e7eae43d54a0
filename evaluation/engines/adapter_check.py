"""Adapters are checked before they are loaded: PEFT takes NaN weights, foreign tensors and foreign bases."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from ...errors import IntegrityError
from ...files import hash_folder

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
BASE_MODEL = "base"

_TENSOR = re.compile(r"base_model\.model\.(model\.)?layers\.\d+\.[a-z_]+(\.[a-z_]+)?\.lora_[AB]\.weight")
_EXECUTABLE = {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".py"}
# Features of LoRA that reach beyond a low-rank update of named linear layers.
_UNUSED = (
    "modules_to_save",
    "trainable_token_indices",
    "layer_replication",
    "megatron_config",
    "auto_mapping",
)
# Other ways to initialise ('pissa', 'olora', …) change the base model's own weights when the adapter is loaded.
_HARMLESS_INITS = (None, True, False, "gaussian")


def adapter_hash(adapter: Path | None) -> str:
    """SHA-256 of the adapter's folder; 'base' for the base model. Raises IntegrityError if it isn't there."""
    if adapter is None:
        return BASE_MODEL
    if not (adapter / WEIGHTS).exists() or not (adapter / CONFIG).exists():
        raise IntegrityError(f"{adapter} is no adapter: {CONFIG} and {WEIGHTS} are needed")
    return hash_folder(adapter)


def verify_adapter(adapter: Path, base_model: Path) -> None:
    """Raise IntegrityError unless this is a plain, finite LoRA adapter made for this base model."""
    links = sorted(path.name for path in adapter.rglob("*") if path.is_symlink())
    if links:
        raise IntegrityError(f"{adapter}: {links[0]} is a link; an adapter is files, not what they lead to")
    foreign = sorted(path.name for path in adapter.rglob("*") if path.suffix in _EXECUTABLE)
    if foreign:
        raise IntegrityError(f"{adapter} holds {foreign[0]}: only safetensors are loaded; remove it")
    _verify_config(adapter / CONFIG, base_model)
    _verify_weights(adapter / WEIGHTS)


def tensor_names(adapter: Path) -> set[str]:
    """The names of the tensors in the adapter's file."""
    from safetensors import safe_open

    with safe_open(adapter / WEIGHTS, framework="pt") as file:
        return set(file.keys())


def _verify_config(path: Path, base_model: Path) -> None:
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except ValueError as error:
        raise IntegrityError(f"{path} is not JSON: the adapter is damaged; train it again") from error
    if config.get("peft_type") != "LORA":
        raise IntegrityError(f"{path}: peft_type is {config.get('peft_type')!r}, only LORA is graded")
    used = [name for name in _UNUSED if config.get(name)]
    if used:
        raise IntegrityError(f"{path}: {used[0]} is set; only plain LoRA on linear layers is graded")
    if config.get("init_lora_weights") not in _HARMLESS_INITS:
        raise IntegrityError(
            f"{path}: init_lora_weights is {config['init_lora_weights']!r}, which would change the base model"
        )
    if config.get("bias", "none") != "none":
        raise IntegrityError(f"{path}: bias is {config['bias']!r}; adapters that train biases are not graded")
    named = config.get("base_model_name_or_path")
    # Stores move between machines: the folder's name decides, not its place; loading checks the shapes.
    if named and Path(str(named)).name != base_model.name:
        raise IntegrityError(f"{path} was made for base model {named!r}, the task's is {str(base_model)!r}")


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _verify_weights(path: Path) -> None:
    import torch
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            if not names:
                raise IntegrityError(f"{path} holds no tensors")
            for name in names:
                if not _TENSOR.fullmatch(name):
                    raise IntegrityError(f"{path}: unexpected tensor {name!r}; only LoRA weights are graded")
                if not bool(torch.isfinite(file.get_tensor(name)).all()):
                    raise IntegrityError(f"{path}: tensor {name!r} is not finite; the training diverged")
    except SafetensorError as error:
        raise IntegrityError(f"{path} is no safetensors file ({error}); train it again") from error
