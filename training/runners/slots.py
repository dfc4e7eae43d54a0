"""Slots in which jobs run, given out first come, first served."""

from __future__ import annotations

from collections import deque


class Slots:
    """`count` numbered slots. A job that already runs takes one at once, even above the count. Not thread-safe."""

    def __init__(self, count: int) -> None:
        self._free = deque(range(count))
        self._above = 0
        self._queue: deque[object] = deque()

    def join(self, ticket: object) -> None:
        """Wait for a turn."""
        self._queue.append(ticket)

    def leave(self, ticket: object) -> None:
        """Wait no longer."""
        if ticket in self._queue:
            self._queue.remove(ticket)

    def take(self, ticket: object) -> int | None:
        """A slot, if one is free and it is this ticket's turn."""
        if self._spare() and self._queue[0] is ticket:
            self._queue.popleft()
            return self._free.popleft()
        return None

    def take_at_once(self) -> int | None:
        """A slot for a job that runs; None if it runs above the count."""
        if self._spare():
            return self._free.popleft()
        self._above += 1
        return None

    def give_back(self, slot: int | None) -> None:
        """Free what was taken."""
        if slot is None:
            self._above -= 1
        else:
            self._free.append(slot)

    def _spare(self) -> bool:
        return len(self._free) > self._above
