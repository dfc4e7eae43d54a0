"""The agents of a run: the Researcher that its settings name, with a chat model the Executor's, and the judge."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...errors import InputError, reading
from ...evaluation.metrics import JudgedMetric, metric
from ...evaluation.splits import confirm_items, dev_items
from ...evaluation.task import Task
from ...evaluation.task_check import TaskCheck
from ...files import read_json
from ...training.data.models.text_model import TextModel
from ..executor.protocol import RepairAgent
from ..llm.model_settings import ModelSettings
from ..researcher import RESEARCHERS
from ..researcher.context import ResearcherContext
from ..researcher.given_plans import GivenPlans
from ..researcher.protocol import Researcher
from ..steering.control import Control
from .directory import RunDirectory
from .events import emit
from .settings import Settings

if TYPE_CHECKING:
    from ..llm.call_ledger import CallLedger
    from ..llm.chat_judge import ChatJudge


@dataclass(frozen=True)
class Agents:
    """The Researcher, and with a chat model the agent that helps the Executor where rules end."""

    researcher: Researcher
    repair_agent: RepairAgent | None = None
    interrupt: Callable[[], None] = lambda: None
    """Ends the calls of chat models that are waiting."""
    open_text_model: Callable[[], TextModel] | None = None
    """Opens the chat model for steps of data recipes."""


def open_agents(
    settings: Settings,
    task: Task,
    directory: RunDirectory,
    deadline: Callable[[], float | None],
    ledger: CallLedger | None = None,
) -> Agents:
    """The agents that the settings of a run name. Raises InputError where a model cannot be called.

    Calls of chat models end at the `deadline` (Unix time), and when a person asks for the end at once. `ledger` is the
    run's, if it is open already.
    """
    open_researcher = _opener(settings)
    if settings.llm is None:
        return Agents(open_researcher(ResearcherContext(settings, task, directory)))
    # A run without a model needs none of these libraries.
    from ..executor.agent.repair_agent import open_repair_agent
    from ..llm.call_limits import CallLimits
    from ..llm.chat import open_chat
    from ..llm.llm_text_model import LLMTextModel

    ledger = ledger or open_ledger(settings, directory)
    assert ledger is not None
    limits = CallLimits(deadline, Control(directory.path).stops_now)
    chat = open_chat("researcher", settings.llm, ledger, limits=limits)
    researcher = open_researcher(ResearcherContext(settings, task, directory, chat))
    executor = open_chat("executor", settings.llm, ledger, limits=limits)
    llm = settings.llm

    def open_text_model() -> TextModel:
        return LLMTextModel(lambda: open_chat("researcher", llm, ledger, limits=limits), llm, ledger)

    repair_agent = open_repair_agent(executor, settings, task, directory)
    return Agents(researcher, repair_agent, limits.interrupt, open_text_model)


def _opener(settings: Settings) -> Callable[[ResearcherContext], Researcher]:
    opened = RESEARCHERS.load(settings.researcher)
    return (lambda context: GivenPlans(opened(context), settings.plans)) if settings.plans else opened


def judged(task: Task) -> bool:
    """Whether a chat model judges the answers."""
    return isinstance(metric(task.metric), JudgedMetric)


def check_judge(task: Task, model: ModelSettings | None) -> None:
    """Raises InputError for a task whose answers a chat model judges, if there is none, or it cannot be opened."""
    if not judged(task):
        return
    if model is None:
        raise InputError(
            f"task {task.name!r}: its metric is judged by a chat model: give --judge PROVIDER:MODEL, or --llm"
        )
    from ..llm.providers import open_model

    open_model(model, "judge")


def open_judge(settings: Settings, task: Task, ledger: CallLedger | None) -> ChatJudge | None:
    """The judge of a run whose metric needs one, else None. Raises InputError where it cannot be called."""
    at_end = questions_at_end(settings, task) if judged(task) else 0
    return judge_of(task, settings.judging_model, ledger, at_end)


def judge_of(
    task: Task, model: ModelSettings | None, ledger: CallLedger | None, at_end: int = 0
) -> ChatJudge | None:
    """The model as the judge of a task whose metric needs one, else None; `at_end` as in `ChatJudge`."""
    check_judge(task, model)
    if ledger is None or model is None or not judged(task):
        return None
    from ..llm.call_limits import CallLimits
    from ..llm.chat import open_chat
    from ..llm.chat_judge import ChatJudge

    # No deadline: the end of a run is judged too, in the time that is kept for it.
    limits = CallLimits()
    return ChatJudge(
        model.researcher,
        lambda: open_chat("judge", model, ledger, limits=limits, private=True),
        limits.interrupt,
        ledger,
        at_end,
    )


def questions_at_end(settings: Settings, task: Task) -> int:
    """How many questions finalists on `confirm`, and winner and baseline on the test split, lead to."""
    made = metric(task.metric)
    finalists = settings.finalists * len(confirm_items(task))
    test = _test_items(settings, task)
    if isinstance(made, JudgedMetric) and made.against_base:  # the base model's answers cost nothing
        return 2 * (finalists + test)
    return finalists + 2 * test


def _test_items(settings: Settings, task: Task) -> int:
    """How many items the test split has, by the check before the run: the process of the run never opens it."""
    path = RunDirectory(settings.path).check
    if not path.exists():  # a run of an earlier version: as many as its size allows
        return round(len(dev_items(task)) * task.test.stat().st_size / max(1, task.dev.stat().st_size))
    with reading(
        path, "remove it, and the judge's calls at the end are estimated from the size of the test file"
    ):
        check = TaskCheck.model_validate(read_json(path))
        return next(file.kept for file in check.files if file.name == "test")


def open_ledger(settings: Settings, directory: RunDirectory) -> CallLedger | None:
    """The record of a run's calls of chat models, under the budgets of `llm`, else of `judge`; None without any."""
    llm = settings.llm or settings.judge
    if llm is None:
        return None
    from ..llm.call_ledger import CallLedger
    from ..report.call_totals import event_of

    return CallLedger(
        directory.calls,
        llm.token_budget,
        llm.cost_budget_usd,
        on_call=lambda call: emit("called", **event_of(call)),
    )
