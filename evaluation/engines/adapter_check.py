"""Trained weights are checked before they are loaded: PEFT takes NaN weights, foreign tensors and foreign bases.

They are a LoRA adapter, or a whole model (see `full_weights`); the names of the files tell which.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ...errors import IntegrityError
from ...files import hash_folder
from .. import full_weights
from .adapter_config import CONFIG, AdapterConfig, read_config

WEIGHTS = "adapter_model.safetensors"
BASE_MODEL = "base"

MOST_BYTES = 16 << 30
"""More than rank 256 on all linear layers of a model of 70 B weights, in float32 (13 GiB)."""

MOST_FULL_BYTES = 300 << 30
"""A model of 70 B weights in float32 (261 GiB)."""

LARGEST_WEIGHT = 1000.0
"""Trained weights are below 10. Products of larger ones overflow, and then every answer is the same."""

_MOST_FILES = 100
_LONGEST_NAME = 400
_DTYPES = ("F32", "F16", "BF16")
_TENSOR = re.compile(
    # The name of a layer has the number of its decoder layer: embeddings and the output layer have none.
    r"base_model\.model\.(?P<layer>(?=[\w.]*\.\d+\.)[A-Za-z]\w*(\.\w+){1,12})"
    r"\.lora_(?P<factor>[AB])\.weight",
    re.ASCII,
)
_EXECUTABLE = {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".py"}


def adapter_hash(adapter: Path | None) -> str:
    """SHA-256 of the folder of trained weights; 'base' for the base model.

    Raises IntegrityError if it is not there, or holds anything but plain files that can be read in reasonable time.
    """
    if adapter is None:
        return BASE_MODEL
    try:
        _check_files(adapter)
        return hash_folder(adapter)
    except OSError as error:
        raise IntegrityError(f"{adapter} can't be read: {error.strerror}") from error


def is_full(folder: Path) -> bool:
    """Whether the folder holds a whole model and no adapter."""
    own, adapters = (
        all((folder / name).exists() or (folder / name).is_symlink() for name in names)
        for names in ((full_weights.TENSORS, full_weights.CONFIG), (WEIGHTS, CONFIG))
    )
    return own and not adapters


def verify_full_weights(folder: Path) -> None:
    """Raise IntegrityError if the folder of a whole model holds anything but plain files of a model."""
    try:
        _check_files(folder)
    except OSError as error:
        raise IntegrityError(f"{folder} can't be read: {error.strerror}") from error


def verify_adapter(adapter: Path, base_model: Path) -> None:
    """Raise IntegrityError unless this is a plain, finite LoRA adapter made for this base model."""
    try:
        _check_files(adapter)
    except OSError as error:
        raise IntegrityError(f"{adapter} can't be read: {error.strerror}") from error
    _verify_weights(adapter / WEIGHTS, read_config(adapter / CONFIG, base_model))


def tensor_names(adapter: Path) -> set[str]:
    """The names of the tensors in the adapter's file."""
    from safetensors import safe_open

    with safe_open(adapter / WEIGHTS, framework="pt") as file:
        return set(file.keys())


def _check_files(adapter: Path) -> None:
    """Without opening any: opening a FIFO waits for ever, and reading a sparse file almost does."""
    full = is_full(adapter)
    needed = (full_weights.TENSORS, full_weights.CONFIG) if full else (WEIGHTS, CONFIG)
    if not all((adapter / name).exists() or (adapter / name).is_symlink() for name in needed):
        raise IntegrityError(f"{adapter} is no adapter: {CONFIG} and {WEIGHTS} are needed")
    found = sorted(adapter.rglob("*"))
    if len(found) > _MOST_FILES:
        raise IntegrityError(f"{adapter} holds {len(found)} files; an adapter has a few")
    total = 0
    for path in found:
        name, info = path.name.encode("utf-8", "replace").decode(), path.lstat()
        if stat.S_ISLNK(info.st_mode):
            raise IntegrityError(f"{adapter}: {name} is a link; an adapter is files, not what they lead to")
        is_folder = stat.S_ISDIR(info.st_mode) and path not in [adapter / name for name in needed]
        if not (stat.S_ISREG(info.st_mode) or is_folder):
            raise IntegrityError(f"{adapter}: {name} is no regular file, and is not opened; remove it")
        if not path.name.isprintable():
            raise IntegrityError(f"{adapter}: a file's name is no text: {name!r}")
        if path.suffix in _EXECUTABLE:
            raise IntegrityError(f"{adapter} holds {name}: only safetensors are loaded; remove it")
        total += info.st_size
    most, kind = (MOST_FULL_BYTES, "a model") if full else (MOST_BYTES, "an adapter")
    if total > most:
        raise IntegrityError(f"{adapter} has {total >> 30} GiB; {kind} has less than {most >> 30}")


def _verify_weights(path: Path, config: AdapterConfig) -> None:
    from safetensors import safe_open

    factors: dict[str, set[str]] = {}
    try:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118  no mapping
                match = _TENSOR.fullmatch(name) if len(name) <= _LONGEST_NAME else None
                if match is None:
                    raise IntegrityError(
                        f"{path}: unexpected tensor {name!r:.200}; only LoRA weights are graded"
                    )
                factors.setdefault(match["layer"], set()).add(match["factor"])
                _verify_tensor(path, file, name, config.r, match["factor"])
    except IntegrityError:
        raise
    except Exception as error:  # the library's own, and what torch raises for a type that it cannot read
        raise IntegrityError(f"{path} is no safetensors file ({error}); train it again") from error
    if not factors:
        raise IntegrityError(f"{path} holds no tensors")
    torn = sorted(layer for layer, found in factors.items() if len(found) != 2)
    if torn:
        raise IntegrityError(f"{path}: {torn[0]} lacks one of its two factors; train it again")
    if config.target_modules is not None and (differing := _differing(factors, set(config.target_modules))):
        raise IntegrityError(
            f"{path}: tensors and target_modules of {CONFIG} differ, e.g. in {min(differing)}"
        )


def _differing(layers: Iterable[str], targets: set[str]) -> set[str]:
    """Layers that no target names, and targets that name no layer. A target is the end of a layer's name."""
    ends = {layer: _ends(layer) for layer in layers}
    return {layer for layer, names in ends.items() if targets.isdisjoint(names)} | targets.difference(
        *ends.values()
    )


def _ends(layer: str) -> set[str]:
    parts = layer.split(".")
    return {".".join(parts[start:]) for start in range(len(parts))}


def _verify_tensor(path: Path, file: Any, name: str, rank: int, factor: str) -> None:
    part = file.get_slice(name)
    shape, dtype = part.get_shape(), part.get_dtype()
    if dtype not in _DTYPES:
        raise IntegrityError(f"{path}: tensor {name!r} has type {dtype}; graded are {', '.join(_DTYPES)}")
    if len(shape) != 2 or 0 in shape or shape["AB".index(factor)] != rank:
        raise IntegrityError(f"{path}: tensor {name!r} has shape {shape}, which is not of rank {rank}")
    largest = float(file.get_tensor(name).abs().max())
    if not largest < float("inf"):
        raise IntegrityError(f"{path}: tensor {name!r} is not finite; the training diverged")
    if largest > LARGEST_WEIGHT:
        raise IntegrityError(
            f"{path}: tensor {name!r} has a weight of {largest:.3g}, more than {LARGEST_WEIGHT:g}; "
            "the training diverged"
        )
