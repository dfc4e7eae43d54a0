"""Damages to a run directory, chosen by chance: files missing, cut, edited, swapped, of wrong types, no files."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

Damage = Callable[[Path, random.Random], None]

COPIED = (".sqlite", ".duckdb")
"""Written in place when they are read: a link would change the original."""
WRONG: list[Any] = [
    None, True, [], {}, "", "x", 0, -1, 1.5, 10**30, 10**400, -(10**400), 1e308, float("inf"), float("nan"),
    "\ud800", "\x00", "../../etc/passwd", [[]], {"": None}, "9" * 5000,
]  # fmt: skip
TEXTS = [
    b"",
    b"\x00" * 64,
    b"\xff\xfe\x80",
    b"{",
    b"[]",
    b"7",
    b"null",
    b"[" * 100_000,
    b'{"a":' * 5000,
    b"\n\n",
]


def linked_copy(source: Path, target: Path) -> Path:
    """The run in another directory, its files as hard links where nothing writes into them."""

    def place(name: str, to: str) -> None:
        (shutil.copyfile if name.endswith(COPIED) else os.link)(name, to)

    return Path(shutil.copytree(source, target, symlinks=True, copy_function=place))


def damage(run: Path, chance: random.Random) -> str:
    """Damage one file of the run, and say which and how. The others, and linked originals, stay as they are."""
    files = sorted(path for path in run.rglob("*") if path.is_file() and not path.is_symlink())
    # Documents of the run itself are what commands read; trials and data sets have many more files.
    top = [path for path in files if path.parent == run or path.parent.name in ("evaluations", "best")]
    path = chance.choice(top if chance.random() < 0.8 else files)
    edits = [_wrong_value, _wrong_value, _lost_key, _lost_key]
    kind = chance.choice([*ANY, *(edits if path.suffix in (".json", ".jsonl", ".yaml") else [])])
    kind(path, chance)
    return f"{path.relative_to(run)}: {kind.__name__.strip('_').replace('_', ' ')}"


def _write(path: Path, content: bytes) -> None:
    path.unlink()  # the original is another name of the same file
    path.write_bytes(content)


def _removed(path: Path, chance: random.Random) -> None:
    path.unlink()


def _cut(path: Path, chance: random.Random) -> None:
    content = path.read_bytes()
    _write(path, content[: chance.randrange(len(content) + 1)])


def _bytes_changed(path: Path, chance: random.Random) -> None:
    content = bytearray(path.read_bytes())
    for _ in range(chance.choice([1, 10, 1000])):
        if content:
            content[chance.randrange(len(content))] = chance.randrange(256)
    _write(path, bytes(content))


def _replaced(path: Path, chance: random.Random) -> None:
    _write(path, chance.choice(TEXTS))


def _a_directory(path: Path, chance: random.Random) -> None:
    path.unlink()
    path.mkdir()


def _a_dangling_link(path: Path, chance: random.Random) -> None:
    path.unlink()
    path.symlink_to(chance.choice(["nowhere", path.name]))


def _a_fifo(path: Path, chance: random.Random) -> None:
    path.unlink()
    os.mkfifo(path)


def _swapped(path: Path, chance: random.Random) -> None:
    other = chance.choice([p for p in path.parent.iterdir() if p.is_file()])
    ours, theirs = path.read_bytes(), other.read_bytes()
    _write(other, ours)
    _write(path, theirs)


def _wrong_value(path: Path, chance: random.Random) -> None:
    def change(holder: Any, key: Any) -> None:
        holder[key] = chance.choice(WRONG)

    _edit(path, chance, change)


def _lost_key(path: Path, chance: random.Random) -> None:
    def change(holder: Any, key: Any) -> None:
        del holder[key]

    _edit(path, chance, change)


def _edit(path: Path, chance: random.Random, change: Callable[[Any, Any], None]) -> None:
    """Change one value somewhere in a document, or in one line of a file of JSON lines."""
    content = path.read_bytes()
    lines = content.splitlines() if path.suffix == ".jsonl" else [content]
    try:
        number = chance.randrange(len(lines))
        whole = [yaml.safe_load(content) if path.suffix == ".yaml" else json.loads(lines[number])]
    except (ValueError, RecursionError, yaml.YAMLError):  # empty, or damaged before
        return
    change(*chance.choice(list(_places(whole))))
    text = "" if not whole else yaml.safe_dump(*whole) if path.suffix == ".yaml" else json.dumps(*whole)
    lines[number] = text.encode()
    _write(path, b"\n".join(lines))


def _places(value: Any) -> Any:
    """Every (container, key) below a value."""
    keys = range(len(value)) if isinstance(value, list) else list(value) if isinstance(value, dict) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


ANY: list[Damage] = [
    _removed, _cut, _bytes_changed, _replaced, _a_directory, _a_dangling_link, _a_fifo, _swapped,
]  # fmt: skip
