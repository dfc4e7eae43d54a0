"""Researchers: who analyses, researches, plans and diagnoses. `protocol.py` says what one is asked."""

from __future__ import annotations

from collections.abc import Callable

from ...registry import Registry
from .context import ResearcherContext
from .protocol import Researcher

RESEARCHERS: Registry[Callable[[ResearcherContext], Researcher]] = Registry(
    "Researcher",
    "trex.researchers",
    {
        "builtin": "trex.graph.researcher.builtin.policy:open_builtin",
        "agent": "trex.graph.researcher.agent.researcher_agent:open_researcher",
    },
)
