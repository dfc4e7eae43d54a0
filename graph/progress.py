"""What a run says while it goes: typed events on LangGraph's custom stream."""

from __future__ import annotations

from typing import Any, Literal

from langgraph.config import get_stream_writer

EventKind = Literal[
    "analysis", "research", "selected", "planned", "prepared", "training", "evaluated", "promoted", "experiment",
    "finishing", "finished",
]  # fmt: skip


def emit(kind: EventKind, **data: Any) -> None:
    """Send one event to whoever follows the run. Call it from inside a node."""
    get_stream_writer()({"event": kind, **data})
