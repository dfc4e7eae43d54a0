"""Sealed folders: a built data set is there whole and unchanged, or it is not there.

A folder is filled under another name, sealed by a manifest of its files' hashes, written last, and renamed.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...errors import PlanError, TrexError
from ...files import hash_file, lock, read_json, read_jsonl, write_json
from .render import Row, answer

MANIFEST = "manifest.json"
TRAIN = "train.jsonl"
_LOCK = ".lock"


def is_sound(folder: Path) -> bool:
    """Whether a sealed folder lies there, and every file is as it was when it was sealed."""
    try:
        manifest = read_json(folder / MANIFEST)
        return manifest["fingerprint"] == folder.name and all(
            hash_file(folder / name) == known for name, known in manifest["files"].items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        # Whatever makes it unreadable, it is not sound, and is built anew.
        return False


def create(folder: Path, fill: Callable[[Path], None]) -> None:
    """Let `fill` write the files of a folder, seal and publish it; a damaged one makes room.

    The caller holds `locked(folder.parent)`. What a killed predecessor left is removed.
    """
    building = folder.parent / f".building-{folder.name}"
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    try:
        fill(building)
        files = {path.name: hash_file(path) for path in sorted(building.iterdir())}
        write_json(building / MANIFEST, {"fingerprint": folder.name, "files": files})
        if folder.exists():
            shutil.rmtree(folder)
        building.rename(folder)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise


def copy(source: Path, target: Path) -> bool:
    """Publish a sealed folder elsewhere under its name; False if it is not sound. Locks as for `create`.

    Copied, not linked: a file edited in a run must not change the store.
    """
    if not is_sound(source):
        return False

    def fill(building: Path) -> None:
        for name in read_json(source / MANIFEST)["files"]:
            shutil.copyfile(source / name, building / name)

    create(target, fill)
    return True


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Hold the lock of a folder of data sets. A file system that refuses becomes one clear line."""
    try:
        with lock(root / _LOCK):
            yield
    except OSError as error:
        reason = error.strerror or error
        raise TrexError(
            f"cannot write the data set to {root}: {reason}; free space or choose another folder"
        ) from error


def export(folder: Path, path: Path) -> None:
    """Write a built data set as one .jsonl, .parquet or .csv file.

    The first two keep conversations; csv has a column for each role of the prompt, the answer and the stream.
    """
    writers = {".jsonl": _write_jsonl, ".parquet": _write_parquet, ".csv": _write_csv}
    if path.suffix not in writers:
        raise PlanError(f"cannot export to {path.name}: choose one of {', '.join(writers)}")
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        writers[path.suffix](folder / TRAIN, unfinished)
        unfinished.replace(path)
    except OSError as error:
        raise TrexError(f"cannot export {folder} to {path}: {error.strerror or error}") from error
    finally:
        unfinished.unlink(missing_ok=True)


def _write_jsonl(train: Path, path: Path) -> None:
    shutil.copyfile(train, path)


def _write_parquet(train: Path, path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(list(read_jsonl(train))), path)


def _write_csv(train: Path, path: Path) -> None:
    import pyarrow as pa
    from pyarrow import csv

    csv.write_csv(pa.Table.from_pylist([_flat(row) for row in read_jsonl(train)]), path)


def _flat(row: Row) -> dict[str, Any]:
    roles = dict.fromkeys(turn["role"] for turn in row["prompt"])
    turns = {
        role: "\n".join(turn["content"] for turn in row["prompt"] if turn["role"] == role) for role in roles
    }
    return {**turns, "answer": answer(row), "stream": row["stream"]}
