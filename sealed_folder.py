"""Sealed folders: a folder is there whole and unchanged, or it counts as not there.

The manifest, with the hash and size of every file, is written last. What `create` makes is filled under another name
and becomes visible by one rename after that.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .files import hash_file, read_json, write_json

MANIFEST = "manifest.json"


def seal(folder: Path, **facts: Any) -> None:
    """Write the manifest: from now on the folder counts. `facts` are kept in it."""
    files = {
        path.relative_to(folder).as_posix(): {"sha256": hash_file(path), "bytes": path.stat().st_size}
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / MANIFEST
    }
    write_json(folder / MANIFEST, {**facts, "files": files})


def is_sealed(folder: Path, thorough: bool = True, **facts: Any) -> bool:
    """Whether the folder is sealed with these facts and every file is as it was then.

    Without `thorough` only the files' sizes are compared, not their hashes.
    """
    try:
        manifest = read_json(folder / MANIFEST)
        return all(manifest[name] == fact for name, fact in facts.items()) and all(
            _matches(folder / name, known, thorough) for name, known in manifest["files"].items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        # Whatever makes it unreadable, it does not count.
        return False


def changed_files(folder: Path) -> list[str]:
    """Names of files edited, removed or added since the folder was sealed; the manifest's if it cannot be read."""
    try:
        files = read_json(folder / MANIFEST)["files"]
        changed = {name for name, known in files.items() if not _matches(folder / name, known, True)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return [MANIFEST]
    found = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir() or p.is_symlink()}
    return sorted(changed | (found - files.keys() - {MANIFEST}))


def create(folder: Path, fill: Callable[[Path], None], **facts: Any) -> None:
    """Let `fill` write the files of a folder, seal and publish it; one that is there already is replaced.

    The caller holds a lock. What a killed predecessor left is removed.
    """
    building = folder.parent / f".building-{folder.name}"
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    try:
        fill(building)
        seal(building, **facts)
        if folder.exists():
            shutil.rmtree(folder)
        building.rename(folder)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise


def copy(source: Path, target: Path, **facts: Any) -> bool:
    """Publish a sealed folder under another path; False if it is not sealed with these facts. Locks as for `create`.

    Copied, not linked: a file edited in a run must not change the original.
    """
    if not is_sealed(source, **facts):
        return False

    def fill(building: Path) -> None:
        for name in read_json(source / MANIFEST)["files"]:
            (building / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, building / name)

    create(target, fill, **facts)
    return True


def remove(folder: Path) -> None:
    """Delete a folder so that it does not count from the first moment on."""
    (folder / MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(folder)


def _matches(path: Path, known: dict[str, Any] | str, thorough: bool) -> bool:
    """Manifests of earlier versions hold the hash alone."""
    recorded = {"sha256": known} if isinstance(known, str) else known
    return (
        path.is_file()
        and path.stat().st_size == recorded.get("bytes", path.stat().st_size)
        and (not thorough or hash_file(path) == recorded["sha256"])
    )
