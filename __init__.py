"""TREX fine-tunes language models by itself: a Researcher and an Executor explore a tree of experiments.

This is the public menu. Names are looked up on first use, so that a training worker which imports
``trex.training`` does not load LangGraph.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .evaluation.task import Source as Source
    from .evaluation.task import Task as Task
    from .ftbench.scoring import score_predictions as score_predictions
    from .graph.api import Run as Run
    from .graph.api import load_run as load_run
    from .graph.api import resume as resume
    from .graph.api import run as run
    from .graph.app import build_graph as build_graph

_HOMES = {
    "Run": ".graph.api",
    "Source": ".evaluation.task",
    "Task": ".evaluation.task",
    "build_graph": ".graph.app",
    "load_run": ".graph.api",
    "resume": ".graph.api",
    "run": ".graph.api",
    "score_predictions": ".ftbench.scoring",
}

__all__ = ["Run", "Source", "Task", "build_graph", "load_run", "resume", "run", "score_predictions"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'trex' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name], __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
