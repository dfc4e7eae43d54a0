"""The budget of active time: summed over resumes, with a reserve for the end of the run."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ...errors import reading
from ...files import read_json, write_json
from ..report.spend import Spend
from .migration import migrated

_SAVE_EVERY_S = 5.0


def read_clock(path: Path) -> Spend:
    """The clock file of a run: `active_seconds` and `overhead_seconds`, summed over its processes."""
    if not path.exists():
        return Spend()
    with reading(path, "remove it, and the time is counted from now"):
        return Spend.model_validate(migrated("clock", read_json(path)))


class Clock:
    """The clock of a run, kept in a file so that a killed process loses a few seconds at most."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._before = read_clock(path)
        self._started = time.monotonic()
        self._cpu = time.process_time()
        self._stop = threading.Event()
        self._saver = threading.Thread(target=self._save_regularly, name="clock", daemon=True)
        self._saver.start()

    def read(self) -> Spend:
        """Active and overhead seconds until now, this process included."""
        return self._before + Spend(
            active_seconds=time.monotonic() - self._started,
            overhead_seconds=time.process_time() - self._cpu,
        )

    def close(self) -> None:
        """Save for the last time."""
        self._stop.set()
        self._saver.join()
        self._save()

    def _save_regularly(self) -> None:
        while not self._stop.wait(_SAVE_EVERY_S):
            self._save()

    def _save(self) -> None:
        # On a full disk the run itself says what is wrong; here it costs a few seconds of the count.
        with suppress(OSError):
            write_json(self._path, self.read().model_dump(include={"active_seconds", "overhead_seconds"}))


class Budget:
    """The limit on active time, less what the end of the run will need."""

    def __init__(self, limit_seconds: float | None, clock: Clock) -> None:
        self.limit_seconds = limit_seconds
        self.clock = clock
        self.reserve_seconds = 0.0
        self.judge_allows: Callable[[], bool] = lambda: True
        """Whether the judge's budget leaves more than the end of the run will take."""

    def left(self) -> float | None:
        """Seconds left for rounds; None without a limit."""
        if self.limit_seconds is None:
            return None
        return self.limit_seconds - self.reserve_seconds - self.clock.read().active_seconds

    def allows(self, seconds: float) -> bool:
        """Whether so many seconds can be spent and the run still ends in time."""
        left = self.left()
        return (left is None or left >= seconds) and self.judge_allows()

    def deadline(self) -> float | None:
        """When jobs must have ended, in Unix time; None without a limit."""
        left = self.left()
        return None if left is None else time.time() + left
