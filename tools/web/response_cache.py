"""A cache of web responses on disk, so that the same request is not sent again within some days."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...files import fingerprint, read_json, write_json

DAY_S = 86_400.0

_MAX_FILES = 2_000  # beyond it the oldest are deleted


@dataclass
class ResponseCache:
    """JSON responses by request. API keys are not part of a request.

    `folder` None: nothing is stored. Times are in seconds; `clock` gives seconds since 1970.
    """

    folder: Path | None
    max_age_s: float = 7 * DAY_S
    clock: Callable[[], float] = time.time
    _written: int = field(default=0, init=False)

    def get(self, request: Any) -> Any | None:
        """The stored response; None if there is none, or it is too old or unreadable."""
        if self.folder is None:
            return None
        try:
            kept = read_json(_file(self.folder, request))
            fresh = 0 <= self.clock() - float(kept["at"]) <= self.max_age_s
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None
        return kept.get("answer") if fresh else None

    def put(self, request: Any, response: Any) -> None:
        """Store a response. A disk error is ignored."""
        if self.folder is None:
            return
        with suppress(OSError, ValueError):
            write_json(_file(self.folder, request), {"at": self.clock(), "answer": response})
            if self._written % 100 == 0:
                files = sorted(self.folder.glob("*.json"), key=lambda path: path.stat().st_mtime)
                for path in files[:-_MAX_FILES]:
                    path.unlink(missing_ok=True)
            self._written += 1


def _file(folder: Path, request: Any) -> Path:
    return folder / f"{fingerprint(request, 32)}.json"
