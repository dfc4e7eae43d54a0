"""Answers of the web, kept on disk for a while: what is asked again is not fetched again."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...files import fingerprint, read_json, write_json

DAY_S = 86_400.0

_MOST = 2_000  # files; the oldest go first


@dataclass
class Answers:
    """JSON values by question. A question is what was asked, never with which key it was asked.

    `folder` None keeps nothing. Times are in seconds; `clock` gives seconds since 1970.
    """

    folder: Path | None
    max_age_s: float = 7 * DAY_S
    clock: Callable[[], float] = time.time
    _written: int = field(default=0, init=False)

    def get(self, question: Any) -> Any | None:
        """The answer kept, if there is one that is not too old and can be read."""
        if self.folder is None:
            return None
        try:
            kept = read_json(self._file(question))
            fresh = 0 <= self.clock() - float(kept["at"]) <= self.max_age_s
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None
        return kept.get("answer") if fresh else None

    def keep(self, question: Any, answer: Any) -> None:
        """Keep an answer; a disk that takes none is no reason to fail."""
        if self.folder is None:
            return
        try:
            write_json(self._file(question), {"at": self.clock(), "answer": answer})
            if self._written % 100 == 0:
                self._drop_oldest()
            self._written += 1
        except (OSError, ValueError):
            return

    def _file(self, question: Any) -> Path:
        assert self.folder is not None
        return self.folder / f"{fingerprint(question, 32)}.json"

    def _drop_oldest(self) -> None:
        assert self.folder is not None
        files = sorted(self.folder.glob("*.json"), key=lambda path: path.stat().st_mtime)
        for path in files[:-_MOST]:
            path.unlink(missing_ok=True)
