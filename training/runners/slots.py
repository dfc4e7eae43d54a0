"""Places at which jobs run, given out first come, first served."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Slots:
    """`count` numbered places. A job that already runs takes one without waiting, even above the count."""

    def __init__(self, count: int) -> None:
        self._free = deque(range(count))
        self._owed = 0
        self._queue: deque[object] = deque()
        self._changed = threading.Condition()

    @contextmanager
    def one(self, at_once: bool, give_up: Callable[[], None]) -> Iterator[int]:
        """Hold a place; its number. Waits for a turn unless `at_once`; `give_up` is asked and may raise."""
        place = self._take_now() if at_once else self._wait(give_up)
        try:
            yield 0 if place is None else place
        finally:
            self._give_back(place)

    def wake(self) -> None:
        """Let everybody who waits ask `give_up` again."""
        with self._changed:
            self._changed.notify_all()

    def _take_now(self) -> int | None:
        with self._changed:
            if self._spare():
                return self._free.popleft()
            self._owed += 1
            return None

    def _spare(self) -> bool:
        return len(self._free) > self._owed

    def _wait(self, give_up: Callable[[], None]) -> int:
        ticket = object()
        give_up()
        with self._changed:
            self._queue.append(ticket)
            try:
                while not self._spare() or self._queue[0] is not ticket:
                    give_up()
                    self._changed.wait(timeout=0.5)
                return self._free.popleft()
            finally:
                self._queue.remove(ticket)
                self._changed.notify_all()

    def _give_back(self, place: int | None) -> None:
        with self._changed:
            if place is None:
                self._owed -= 1  # it ran above the count: nothing to hand on
            else:
                self._free.append(place)
            self._changed.notify_all()
