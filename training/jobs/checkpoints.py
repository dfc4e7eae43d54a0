"""Sealed checkpoints: a manifest of hashes is written last, so what carries a true one is whole.

A checkpoint that lost its optimiser or random state would resume without complaint and give other weights.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from ...files import hash_file, read_json, write_json

_NAME = re.compile(r"checkpoint-(\d+)$")
_MANIFEST = "manifest.json"


def checkpoint_folder(trial: Path, step: int) -> Path:
    """Where the checkpoint of that step lies."""
    return trial / f"checkpoint-{step}"


def seal(checkpoint: Path) -> None:
    """Write the manifest: from now on the checkpoint counts."""
    write_json(checkpoint / _MANIFEST, _hashes(checkpoint))


def is_sealed(checkpoint: Path) -> bool:
    """Whether the manifest is there and every file still has the hash it names."""
    try:
        manifest = read_json(checkpoint / _MANIFEST)
    except (FileNotFoundError, ValueError):
        return False
    return bool(manifest == _hashes(checkpoint))


def newest_sealed(trial: Path, at_most: int) -> int | None:
    """The step of the newest sealed checkpoint not beyond `at_most`; None: start from the beginning."""
    steps = sorted((step for step, _ in _all(trial) if step <= at_most), reverse=True)
    return next((step for step in steps if is_sealed(checkpoint_folder(trial, step))), None)


def remove_unsealed(trial: Path) -> None:
    """Delete what a killed worker left half-written."""
    for _, checkpoint in _all(trial):
        if not is_sealed(checkpoint):
            shutil.rmtree(checkpoint)


def remove_before(trial: Path, step: int) -> None:
    """Delete the checkpoints older than that step."""
    for older, checkpoint in _all(trial):
        if older < step:
            _unseal_and_remove(checkpoint)


def remove_all(trial: Path) -> None:
    """Delete every checkpoint."""
    for _, checkpoint in _all(trial):
        _unseal_and_remove(checkpoint)


def _unseal_and_remove(checkpoint: Path) -> None:
    (checkpoint / _MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(checkpoint)


def _all(trial: Path) -> Iterator[tuple[int, Path]]:
    for path in sorted(trial.glob("checkpoint-*")):
        if match := _NAME.match(path.name):
            yield int(match.group(1)), path


def _hashes(checkpoint: Path) -> dict[str, str]:
    return {
        path.relative_to(checkpoint).as_posix(): hash_file(path)
        for path in sorted(checkpoint.rglob("*"))
        if path.is_file() and path.name != _MANIFEST
    }
