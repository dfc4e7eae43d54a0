"""Events of a run: passed to a follower, or else to LangGraph's custom stream."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal

from langgraph.config import get_stream_writer

EventKind = Literal[
    "analysis",
    "called",
    "research",
    "selected",
    "planned",
    "prepared",
    "training",
    "evaluated",
    "promoted",
    "experiment",
    "finishing",
    "finished",
]
Event = dict[str, Any]
Follow = Callable[[Event], None]

# LangGraph hands its context to the threads that run nodes.
_follower: ContextVar[Follow | None] = ContextVar("follower", default=None)


@contextmanager
def followed_by(follow: Follow) -> Iterator[None]:
    """Hand every event of this context to `follow`, one at a time, whichever thread it comes from.

    Our own processes use this; LangGraph's custom stream, which Studio shows, wakes a thread for each event.
    """
    one_at_a_time = threading.Lock()

    def take(event: Event) -> None:
        with one_at_a_time:
            follow(event)

    token = _follower.set(take)
    try:
        yield
    finally:
        _follower.reset(token)


@contextmanager
def also_inside(write: Follow) -> Iterator[None]:
    """Hand events to `write`, a node's own stream, also from graphs inside of it, unless somebody follows already."""
    if _follower.get() is not None:
        yield
        return
    with followed_by(write):
        yield


def emit(kind: EventKind, **data: Any) -> None:
    """Emit an event. Call it from inside a node."""
    event: Event = {"event": kind, **data}
    (_follower.get() or get_stream_writer())(event)
