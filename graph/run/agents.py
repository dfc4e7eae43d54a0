"""Who thinks on a run: the built-in policy, or chat models."""

from __future__ import annotations

from dataclasses import dataclass

from ...evaluation.task import Task
from ..executor.protocol import RepairAgent, Revise
from ..llm.model_settings import ModelSettings
from ..researcher.builtin.policy import BuiltinResearcher
from ..researcher.protocol import Researcher
from .directory import RunDirectory
from .events import emit
from .settings import Settings


@dataclass(frozen=True)
class Agents:
    """The Researcher, and with chat models what helps the Executor where rules end."""

    researcher: Researcher
    repair_agent: RepairAgent | None = None
    revise: Revise | None = None


def open_agents(settings: Settings, task: Task, directory: RunDirectory) -> Agents:
    """The mind that a run's settings name. Raises InputError where a model cannot be called."""
    builtin = BuiltinResearcher(settings.seed, diagnosis=settings.diagnosis)
    if settings.llm is None:
        return Agents(builtin)
    return _with_models(settings.llm, settings, task, directory, builtin)


def _with_models(
    llm: ModelSettings, settings: Settings, task: Task, directory: RunDirectory, builtin: BuiltinResearcher
) -> Agents:
    # A run without a model needs none of these libraries.
    from ..executor.agent.repair_agent import open_repair_agent
    from ..llm.call_ledger import CallLedger
    from ..llm.chat import open_chat
    from ..report.call_totals import event_of
    from ..researcher.agent.researcher_agent import open_researcher

    ledger = CallLedger(
        directory.calls,
        llm.token_budget,
        llm.cost_budget_usd,
        on_call=lambda call: emit("called", **event_of(call)),
    )
    researcher = open_researcher(open_chat("researcher", llm, ledger), settings, task, directory, builtin)
    repair_agent = open_repair_agent(open_chat("executor", llm, ledger), settings, task, directory)
    return Agents(researcher, repair_agent, researcher.revise)
