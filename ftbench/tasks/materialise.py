"""Embedded tasks become plain files once: `TREX_HOME/tasks/<name>-<version>/`, whole or not at all."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

from ...errors import InputError
from ...evaluation.decontamination import gate, item_texts, near_index, normal_form
from ...files import lock
from ...home import home
from ...sealed_folder import create, is_sealed

_GATE = (gate, item_texts, near_index, normal_form)


def materialise(
    name: str, made_by: Sequence[ModuleType], made_from: str, build: Callable[[Path], None]
) -> Path:
    """The folder of a task's files, built if this version of it is not there yet.

    The version is a hash of the modules in `made_by` (the code that writes the files), of the contamination gate and of
    `made_from` (the hash of the data they read), so that a change of either makes new files and leaves old runs theirs.
    `build` writes into an empty folder. Processes wait for each other. Raises InputError if nothing can be
    written there.
    """
    digest = hashlib.sha256(made_from.encode())
    for module in (*made_by, *_GATE):
        digest.update(inspect.getsource(module).encode())
    folder = home() / "tasks" / f"{name}-{digest.hexdigest()[:12]}"
    if is_sealed(folder, thorough=False):
        return folder
    try:
        with lock(folder.parent / f".{folder.name}.lock"):
            if not is_sealed(folder, thorough=False):
                create(folder, build)
    except OSError as error:
        advice = "set TREX_HOME to a folder you can write, with space"
        raise InputError(f"cannot write to {folder} ({error}): {advice}") from error
    return folder
