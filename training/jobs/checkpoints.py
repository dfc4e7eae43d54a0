"""Checkpoints of a trial: sealed folders, so that only a complete checkpoint is used.

Without its optimiser or random state a checkpoint could be resumed without an error, but with different weights.
"""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from ...sealed_folder import is_sealed, remove

_NAME = re.compile(r"checkpoint-(\d+)$")


def checkpoint_folder(trial: Path, step: int) -> Path:
    """The folder of the checkpoint of that step."""
    return trial / f"checkpoint-{step}"


def newest_sealed(trial: Path, at_most: int) -> int | None:
    """The step of the newest sealed checkpoint up to step `at_most`; None if there is no such checkpoint."""
    steps = sorted((step for step, _ in _all(trial) if step <= at_most), reverse=True)
    return next((step for step in steps if is_sealed(checkpoint_folder(trial, step))), None)


def remove_unsealed(trial: Path) -> None:
    """Delete incomplete checkpoints of a killed worker, of every stage."""
    for folder in (trial, *trial.glob("stage-*")):
        for _, checkpoint in _all(folder):
            if not is_sealed(checkpoint):
                shutil.rmtree(checkpoint)


def remove_all(trial: Path) -> None:
    """Delete all checkpoints, and what stages after the first left."""
    remove_before(trial, math.inf)
    for stage in trial.glob("stage-*"):
        shutil.rmtree(stage)


def remove_before(trial: Path, step: float) -> None:
    """Delete the checkpoints of earlier steps."""
    for earlier, checkpoint in _all(trial):
        if earlier < step:
            remove(checkpoint)


def _all(trial: Path) -> Iterator[tuple[int, Path]]:
    for path in sorted(trial.glob("checkpoint-*")):
        if match := _NAME.match(path.name):
            yield int(match.group(1)), path
