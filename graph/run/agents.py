"""The agents of a run: the Researcher that its settings name, and with a chat model the Executor's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...evaluation.task import Task
from ..executor.protocol import RepairAgent
from ..llm.model_settings import ModelSettings
from ..researcher import RESEARCHERS
from ..researcher.context import ResearcherContext
from ..researcher.protocol import Researcher
from ..steering.control import Control
from .directory import RunDirectory
from .events import emit
from .settings import Settings

if TYPE_CHECKING:
    from ..llm.call_ledger import CallLedger


@dataclass(frozen=True)
class Agents:
    """The Researcher, and with a chat model the agent that helps the Executor where rules end."""

    researcher: Researcher
    repair_agent: RepairAgent | None = None
    interrupt: Callable[[], None] = lambda: None
    """Ends the calls of chat models that are waiting."""


def open_agents(
    settings: Settings, task: Task, directory: RunDirectory, deadline: Callable[[], float | None]
) -> Agents:
    """The agents that the settings of a run name. Raises InputError where a model cannot be called.

    Calls of chat models end at the `deadline` (Unix time), and when a person asks for the end at once.
    """
    open_researcher = RESEARCHERS.load(settings.researcher)
    if settings.llm is None:
        return Agents(open_researcher(ResearcherContext(settings, task, directory)))
    # A run without a model needs none of these libraries.
    from ..executor.agent.repair_agent import open_repair_agent
    from ..llm.call_limits import CallLimits
    from ..llm.chat import open_chat

    ledger = _open_ledger(settings.llm, directory)
    limits = CallLimits(deadline, Control(directory.path).stops_now)
    chat = open_chat("researcher", settings.llm, ledger, limits=limits)
    researcher = open_researcher(ResearcherContext(settings, task, directory, chat))
    executor = open_chat("executor", settings.llm, ledger, limits=limits)
    return Agents(researcher, open_repair_agent(executor, settings, task, directory), limits.interrupt)


def _open_ledger(llm: ModelSettings, directory: RunDirectory) -> CallLedger:
    from ..llm.call_ledger import CallLedger
    from ..report.call_totals import event_of

    return CallLedger(
        directory.calls,
        llm.token_budget,
        llm.cost_budget_usd,
        on_call=lambda call: emit("called", **event_of(call)),
    )
