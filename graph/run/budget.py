"""Budgets fail closed: active time is summed across resumes, and time for the end is reserved."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from ...files import read_json, write_json
from .migration import migrated

_SAVE_EVERY_S = 5.0


class Reading(BaseModel):
    """What the clock of a run shows, summed over all processes that worked on it."""

    model_config = ConfigDict(frozen=True)

    active_seconds: float = Field(default=0.0, description="Wall time")
    overhead_seconds: float = Field(default=0.0, description="CPU time of the processes that drove the graph")


def read_clock(path: Path) -> Reading:
    """The clock file of a run; zeros before the first."""
    return Reading.model_validate(migrated("clock", read_json(path))) if path.exists() else Reading()


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

    def read(self) -> Reading:
        """Now, this process included."""
        return Reading(
            active_seconds=self._before.active_seconds + time.monotonic() - self._started,
            overhead_seconds=self._before.overhead_seconds + time.process_time() - self._cpu,
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
            write_json(self._path, self.read().model_dump())


class Budget:
    """The limit on active time, less what the end of the run will need."""

    def __init__(self, limit_seconds: float | None, clock: Clock) -> None:
        self.limit_seconds = limit_seconds
        self.clock = clock
        self.reserve_seconds = 0.0

    def left(self) -> float | None:
        """Seconds left for rounds; None without a limit."""
        if self.limit_seconds is None:
            return None
        return self.limit_seconds - self.reserve_seconds - self.clock.read().active_seconds

    def allows(self, seconds: float) -> bool:
        """Whether so many seconds more can be spent and the run still ends in time."""
        left = self.left()
        return left is None or left >= seconds

    def deadline(self) -> float | None:
        """When jobs must have ended, in Unix time; None without a limit."""
        left = self.left()
        return None if left is None else time.time() + left
