"""The audit trail of a run: audit.jsonl, append-only. An entry is on disk before the action that it announces.

Every entry carries a hash over itself and the entry before it, so that an edited, removed or inserted line is detected.
Lines cut off at the end are not, nor is a trail that was recomputed: there is no secret key.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...errors import IntegrityError
from ...files import append_line, canonical_json, fingerprint, lock, read_lines

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

    def follows(self, before: str) -> bool:
        """Whether its hash is right after the entry with that hash."""
        try:
            return self == self.chained(before)
        except (ValueError, RecursionError):  # NaN, which no entry of ours holds
            return False


def record(run_dir: Path, who: str, what: str, detail: dict[str, Any] | None = None) -> AuditEntry:
    """Append an entry and wait until it is on disk. Several processes may write."""
    entry = AuditEntry(time=time.time(), who=who, what=what, detail=detail or {})
    path = run_dir / FILE
    with lock(run_dir / f".{FILE}.lock"):
        entry = entry.chained(_last_hash(path))
        append_line(path, canonical_json(entry.model_dump()))
    return entry


def read(run_dir: Path) -> list[AuditEntry]:
    """All entries, oldest first; a line torn by a crash, no JSON at all, is left out.

    Raises IntegrityError for a line that is JSON but not an entry, or does not follow from the line before it:
    somebody changed the trail.
    """
    path = run_dir / FILE
    entries: list[AuditEntry] = []
    for number, value in read_lines(path):
        entry = _entry(value, f"{path}:{number}")
        if not entry.follows(entries[-1].hash if entries else ""):
            raise IntegrityError(
                f"{path}:{number} does not follow from the entry before it; the trail was changed"
            )
        entries.append(entry)
    return entries


def _entry(value: Any, where: str) -> AuditEntry:
    try:
        return AuditEntry.model_validate(value)
    except ValidationError as error:
        raise IntegrityError(f"{where} is not an audit entry; the trail was changed") from error


def _last_hash(path: Path) -> str:
    values = [value for _, value in read_lines(path, tail=_TAIL)]
    return _entry(values[-1], str(path)).hash if values else ""
