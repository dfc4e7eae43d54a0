"""Where the rows of a part of the user's file came from, so that messages name that file and its lines.

A part `dev.jsonl` has a file `dev.jsonl.origin.json` beside it, with the user's file and a line number for each row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ...files import read_json, write_json

_ENDING = ".origin.json"


@dataclass(frozen=True)
class RowOrigin:
    """The user's file, the name of the part, and the line of each of its rows."""

    file: Path
    part: str
    lines: Sequence[int]


def keep_origin(part: Path, file: Path, lines: Sequence[int]) -> None:
    """Say where the rows of a part come from."""
    write_json(part.with_name(part.name + _ENDING), {"file": str(file.absolute()), "lines": list(lines)})


def file_name(path: str | Path) -> str:
    """What messages call a file: its path, or what part of which file of the user it is."""
    origin = _origin(Path(path))
    return str(path) if origin is None else f"{origin.file} (its part {origin.part})"


def line_name(path: str | Path, number: int) -> str:
    """What messages call a line: 'dev.csv:7', or the line of the user's file that a row was cut from."""
    origin = _origin(Path(path))
    if origin is None or not 0 < number <= len(origin.lines):
        return f"{Path(path).name}:{number}"
    return f"{origin.file.name}:{origin.lines[number - 1]}"


def _origin(path: Path) -> RowOrigin | None:
    kept = path.with_name(path.name + _ENDING) if path.name else path
    try:
        return _read(kept, kept.stat().st_mtime_ns)
    except (OSError, ValueError, KeyError, TypeError):  # it only serves messages
        return None


@lru_cache(maxsize=8)
def _read(kept: Path, changed: int) -> RowOrigin:
    stored = read_json(kept)
    return RowOrigin(
        Path(stored["file"]), kept.name.removesuffix(_ENDING).partition(".")[0], list(stored["lines"])
    )
