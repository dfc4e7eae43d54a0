"""The settings of an adapter that is graded: plain LoRA on linear layers, as PEFT's adapter_config.json names them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, StrictBool, StrictInt, ValidationError

from ...errors import IntegrityError, explain

CONFIG = "adapter_config.json"

_MOST_BYTES = 1 << 20
_LARGEST_SCALE = 1000.0
# Read only by features that are not graded, and not empty by default.
_WITHOUT_EFFECT = {"megatron_core", "qalora_group_size"}
# Other ways to initialise ('pissa', 'olora', …) change the base model's own weights when the adapter is loaded.
_HARMLESS_INITS = (None, True, False, "gaussian")


class AdapterConfig(BaseModel, frozen=True, extra="allow", strict=True, allow_inf_nan=False):
    """The settings that may differ between adapters. Defaults are PEFT's; every other setting must be empty."""

    r: int = Field(default=8, ge=1, le=1024)
    lora_alpha: float = Field(default=8, gt=0)
    lora_dropout: float = Field(default=0, ge=0, le=1)
    target_modules: list[Annotated[str, Field(pattern=r"^[A-Za-z0-9_.]{1,256}$")]] | None = Field(
        default=None, min_length=1, max_length=10_000
    )
    fan_in_fan_out: StrictBool = False
    layers_to_transform: StrictInt | list[StrictInt] | None = None
    use_rslora: StrictBool = False
    task_type: Literal["CAUSAL_LM"] | None = None
    base_model_name_or_path: str | None = None
    inference_mode: StrictBool = False
    peft_version: str | None = None

    @property
    def scale(self) -> float:
        """The factor of the update `B @ A`."""
        return self.lora_alpha / (math.sqrt(self.r) if self.use_rslora else self.r)


def read_config(path: Path, base_model: Path) -> AdapterConfig:
    """The settings of an adapter for this base model. Raises IntegrityError for any that are not graded."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise IntegrityError(f"{path} is larger than {_MOST_BYTES >> 20} MiB: it is no configuration")
        raw = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except (OSError, ValueError, RecursionError) as error:
        raise IntegrityError(f"{path} is not JSON: the adapter is damaged; train it again") from error
    if not isinstance(raw, dict):
        raise IntegrityError(f"{path} is no JSON object: the adapter is damaged; train it again")
    if raw.get("peft_type") != "LORA":
        raise IntegrityError(f"{path}: peft_type is {raw.get('peft_type')!r:.80}, only LORA is graded")
    start = raw.pop("init_lora_weights", None)
    if not any(start is known or start == known == "gaussian" for known in _HARMLESS_INITS):
        raise IntegrityError(f"{path}: init_lora_weights is {start!r:.80}, which would change the base model")
    if (bias := raw.pop("bias", "none")) != "none":
        raise IntegrityError(f"{path}: bias is {bias!r:.80}; adapters that train biases are not graded")
    try:
        config = AdapterConfig.model_validate(raw)
    except ValidationError as error:
        raise IntegrityError(f"{path}: {explain(error)}; only plain LoRA is graded") from error
    _check(path, config, base_model)
    return config


def _check(path: Path, config: AdapterConfig, base_model: Path) -> None:
    extra: dict[str, Any] = config.model_extra or {}
    used = sorted(
        name for name, value in extra.items() if value and name not in {"peft_type"} | _WITHOUT_EFFECT
    )
    if used:
        raise IntegrityError(f"{path}: {used[0]:.80} is set; only plain LoRA on linear layers is graded")
    if config.scale > _LARGEST_SCALE:
        raise IntegrityError(f"{path}: lora_alpha / r is {config.scale:g}, more than {_LARGEST_SCALE:g}")
    named = config.base_model_name_or_path
    # Stores move between machines: the folder's name decides, not its place; loading checks the shapes.
    if named and Path(named).name != base_model.name:
        raise IntegrityError(
            f"{path} was made for base model {named!r:.200}, the task's is {str(base_model)!r}"
        )


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
