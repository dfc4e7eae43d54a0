"""The audit trail of a run: audit.jsonl, append-only. An entry is on disk before the action that it announces.

Every entry carries a hash over itself and the entry before it, so that an edited, removed or inserted line is detected.
Lines cut off at the end are not, nor is a trail that was recomputed: there is no secret key.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...errors import IntegrityError
from ...files import canonical_json, fingerprint, lock

FILE = "audit.jsonl"
_TAIL = 1 << 16  # bytes, more than any entry has


class AuditEntry(BaseModel):
    """One line of the trail."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    time: float = Field(description="Unix time")
    who: str
    what: str
    detail: dict[str, Any] = Field(default_factory=dict)
    hash: str = Field(default="", description="Over this entry and the hash of the one before")

    def chained(self, before: str) -> AuditEntry:
        """The entry as it stands after the one with that hash ('' for none)."""
        own = self.model_dump(exclude={"hash"})
        return self.model_copy(update={"hash": fingerprint([before, own], length=64)})


def record(run_dir: Path, who: str, what: str, detail: dict[str, Any] | None = None) -> AuditEntry:
    """Append an entry and wait until it is on disk. Several processes may write."""
    entry = AuditEntry(time=time.time(), who=who, what=what, detail=detail or {})
    run_dir.mkdir(parents=True, exist_ok=True)
    path = run_dir / FILE
    with lock(run_dir / f".{FILE}.lock"):
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            size = os.fstat(handle).st_size
            # A crash may have left half a line: it is ended, so that it spoils no other.
            torn = size > 0 and os.pread(handle, 1, size - 1) != b"\n"
            entry = entry.chained(_last_hash(path, os.pread(handle, _TAIL, max(0, size - _TAIL))))
            line = ("\n" if torn else "") + canonical_json(entry.model_dump()) + "\n"
            os.write(handle, line.encode())
            os.fsync(handle)
        finally:
            os.close(handle)
    return entry


def read(run_dir: Path) -> list[AuditEntry]:
    """All entries, oldest first; a line torn by a crash, no JSON at all, is left out.

    Raises IntegrityError for a line that is JSON but not an entry, or does not follow from the line before it:
    somebody changed the trail.
    """
    path = run_dir / FILE
    if not path.exists():
        return []
    entries: list[AuditEntry] = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").split("\n"), start=1):
        entry = _parse(line, f"{path}:{number}")
        if entry is None:
            continue
        if entry != entry.chained(entries[-1].hash if entries else ""):
            raise IntegrityError(
                f"{path}:{number} does not follow from the entry before it; the trail was changed"
            )
        entries.append(entry)
    return entries


def _parse(line: str, where: str) -> AuditEntry | None:
    """An entry; None for a line that is no JSON."""
    try:
        written = json.loads(line)
    except json.JSONDecodeError:
        return None
    try:
        return AuditEntry.model_validate(written)
    except ValidationError as error:
        raise IntegrityError(f"{where} is not an audit entry; the trail was changed") from error


def _last_hash(path: Path, tail: bytes) -> str:
    for line in reversed(tail.decode(errors="replace").split("\n")):
        entry = _parse(line, str(path))
        if entry is not None:
            return entry.hash
    return ""
