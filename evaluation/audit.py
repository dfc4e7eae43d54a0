"""The audit trail of a run: audit.jsonl, append-only, on disk before what it announces happens."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import IntegrityError
from ..files import canonical_json, lock

FILE = "audit.jsonl"


class AuditEntry(BaseModel):
    """One line of the trail."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    time: float = Field(description="Unix time")
    who: str
    what: str
    detail: dict[str, Any] = Field(default_factory=dict)


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
            line = ("\n" if torn else "") + canonical_json(entry.model_dump()) + "\n"
            os.write(handle, line.encode())
            os.fsync(handle)
        finally:
            os.close(handle)
    return entry


def read(run_dir: Path) -> list[AuditEntry]:
    """All entries, oldest first; a line torn by a crash, no JSON at all, is left out.

    Raises IntegrityError for a line that is JSON but not an entry: somebody else wrote it.
    """
    path = run_dir / FILE
    if not path.exists():
        return []
    entries = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        try:
            written = json.loads(line)
        except json.JSONDecodeError:
            continue
        try:
            entries.append(AuditEntry.model_validate(written))
        except ValidationError as error:
            raise IntegrityError(f"{path}:{number} is not an audit entry; the trail was changed") from error
    return entries
