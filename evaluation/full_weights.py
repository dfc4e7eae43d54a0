"""Trained weights of a whole model: checked, and put into the base model of the same architecture."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import IntegrityError
from ..files import read_json

TENSORS, CONFIG = "model.safetensors", "config.json"

_DTYPES = ("F32", "F16", "BF16")
# Where a model lies, who wrote its file, how it was loaded, and what its trainer aligned with the tokenizer: no part
# of its architecture.
_ALIGNED = ("pad_token_id", "bos_token_id", "eos_token_id")
_PASSING = {
    "_name_or_path",
    "transformers_version",
    "dtype",
    "torch_dtype",
    "use_cache",
    "_attn_implementation",
    *_ALIGNED,
}


def plain_config(model: Any) -> dict[str, Any]:
    """The architecture of a model as its config.json holds it, the same on every machine."""
    config: dict[str, Any] = json.loads(model.config.to_json_string(use_diff=False))
    return {name: value for name, value in sorted(config.items()) if name not in _PASSING}


def load_full_weights(model: Any, folder: Path) -> None:
    """Put trained weights into the model, for good.

    Raises IntegrityError unless they are finite and those of exactly this architecture.
    """
    from safetensors import safe_open

    path = folder / TENSORS
    _check_config(model, folder / CONFIG)
    parameters = dict(model.named_parameters())
    try:
        with safe_open(path, framework="pt") as file:
            names = set(file.keys())
            if differing := names ^ parameters.keys():
                raise IntegrityError(
                    f"{path} lacks or adds tensors to the base model's, e.g. {min(differing)!r:.200}"
                )
            for name, parameter in parameters.items():
                part = file.get_slice(name)
                if part.get_dtype() not in _DTYPES or part.get_shape() != list(parameter.shape):
                    raise IntegrityError(
                        f"{path}: tensor {name!r:.200} is {part.get_dtype()} {part.get_shape()}, "
                        f"the base model's has shape {list(parameter.shape)}"
                    )
                tensor = file.get_tensor(name)
                if not tensor.isfinite().all():
                    raise IntegrityError(f"{path}: tensor {name!r:.200} is not finite; the training diverged")
                parameter.data = tensor.to(parameter.device, parameter.dtype)
    except IntegrityError:
        raise
    except Exception as error:  # the library's own, and what torch raises for a type that it cannot read
        raise IntegrityError(f"{path} is no safetensors file ({error}); train it again") from error


@contextmanager
def full_weights(model: Any, folder: Path) -> Iterator[Any]:
    """The model with trained weights; afterwards its own. Needs memory for both. Raises as `load_full_weights`."""
    own = {name: parameter.data for name, parameter in model.named_parameters()}
    try:
        load_full_weights(model, folder)
        yield model
    finally:
        for name, parameter in model.named_parameters():
            parameter.data = own[name]


def _check_config(model: Any, path: Path) -> None:
    """What is scored is computed as the base model computes: another configuration is refused, not used."""
    try:
        config = read_json(path)
    except (OSError, ValueError, RecursionError) as error:
        raise IntegrityError(f"{path} is not JSON: the weights are damaged; train them again") from error
    if not isinstance(config, dict):
        raise IntegrityError(f"{path} is no JSON object: the weights are damaged; train them again")
    known = plain_config(model)
    differing = [
        name
        for name in sorted(known.keys() | config.keys())
        if name not in _PASSING and known.get(name) != config.get(name)
    ]
    if differing:
        raise IntegrityError(f"{path}: {differing[0]!r:.80} differs from the base model's configuration")
