"""What a Researcher is opened with."""

from __future__ import annotations

from dataclasses import dataclass

from ...evaluation.task import Task
from ..llm.protocol import Chat
from ..run.directory import RunDirectory
from ..run.settings import Settings


@dataclass(frozen=True)
class ResearcherContext:
    """One run: its settings, its task, its directory, and the Researcher's chat model, if it has one."""

    settings: Settings
    task: Task
    directory: RunDirectory
    chat: Chat | None = None
