"""The agents of a run: the Researcher that its settings name, and with a chat model the Executor's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...evaluation.task import Task
from ..executor.protocol import RepairAgent
from ..llm.model_settings import ModelSettings
from ..researcher import RESEARCHERS
from ..researcher.context import ResearcherContext
from ..researcher.protocol import Researcher
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


def open_agents(settings: Settings, task: Task, directory: RunDirectory) -> Agents:
    """The agents that the settings of a run name. Raises InputError where a model cannot be called."""
    open_researcher = RESEARCHERS.load(settings.researcher)
    if settings.llm is None:
        return Agents(open_researcher(ResearcherContext(settings, task, directory)))
    # A run without a model needs none of these libraries.
    from ..executor.agent.repair_agent import open_repair_agent
    from ..llm.chat import open_chat

    ledger = _open_ledger(settings.llm, directory)
    chat = open_chat("researcher", settings.llm, ledger)
    researcher = open_researcher(ResearcherContext(settings, task, directory, chat))
    repair_agent = open_repair_agent(open_chat("executor", settings.llm, ledger), settings, task, directory)
    return Agents(researcher, repair_agent)


def _open_ledger(llm: ModelSettings, directory: RunDirectory) -> CallLedger:
    from ..llm.call_ledger import CallLedger
    from ..report.call_totals import event_of

    return CallLedger(
        directory.calls,
        llm.token_budget,
        llm.cost_budget_usd,
        on_call=lambda call: emit("called", **event_of(call)),
    )
