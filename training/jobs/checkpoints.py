"""Checkpoints of a trial: sealed folders, so that one that is used is whole.

A checkpoint that lost its optimiser or random state would resume without complaint and give other weights.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from ...sealed_folder import is_sealed, remove

_NAME = re.compile(r"checkpoint-(\d+)$")


def checkpoint_folder(trial: Path, step: int) -> Path:
    """Where the checkpoint of that step lies."""
    return trial / f"checkpoint-{step}"


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
            remove(checkpoint)


def remove_all(trial: Path) -> None:
    """Delete every checkpoint."""
    for _, checkpoint in _all(trial):
        remove(checkpoint)


def _all(trial: Path) -> Iterator[tuple[int, Path]]:
    for path in sorted(trial.glob("checkpoint-*")):
        if match := _NAME.match(path.name):
            yield int(match.group(1)), path
