"""Embedded tasks become plain files once: `TREX_HOME/tasks/<name>-<version>/`, whole or not at all."""

from __future__ import annotations

import hashlib
import inspect
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

from ...errors import InputError
from ...files import hash_file, lock, write_json
from ...home import home

MANIFEST = "manifest.json"


def materialise(
    name: str, made_by: Sequence[ModuleType], made_from: str, build: Callable[[Path], None]
) -> Path:
    """The folder of a task's files, built if this version of it is not there yet.

    The version is a hash of the modules in `made_by` (the code that writes the files) and of `made_from` (the
    hash of the data they read), so that a change of either makes new files and leaves old runs theirs.
    `build` writes into an empty folder. Processes wait for each other. Raises InputError if nothing can be
    written there.
    """
    digest = hashlib.sha256(made_from.encode())
    for module in made_by:
        digest.update(inspect.getsource(module).encode())
    folder = home() / "tasks" / f"{name}-{digest.hexdigest()[:12]}"
    if (folder / MANIFEST).is_file():
        return folder
    try:
        with lock(folder.parent / f".{folder.name}.lock"):
            if not (folder / MANIFEST).is_file():
                _build(folder, build)
    except OSError as error:
        mend = "set TREX_HOME to a folder you can write, with space"
        raise InputError(f"cannot write to {folder} ({error}): {mend}") from error
    return folder


def _build(folder: Path, build: Callable[[Path], None]) -> None:
    for leftover in folder.parent.glob(f".{folder.name}.work.*"):
        shutil.rmtree(leftover)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.work.") as work:
        built = Path(work) / "built"
        built.mkdir()
        build(built)
        files = {path.name: hash_file(path) for path in sorted(built.iterdir())}
        write_json(built / MANIFEST, {"files": files})
        if folder.exists():  # without its manifest: not ours to trust
            shutil.rmtree(folder)
        built.rename(folder)
