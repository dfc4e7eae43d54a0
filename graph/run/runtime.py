"""The runtime of a run: everything its nodes work with, opened once a process from the frozen settings."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from pydantic import TypeAdapter

from ...errors import TrexError
from ...evaluation.base_models import model_hash, resolve_model
from ...evaluation.grader.client import Grader, GraderClient
from ...evaluation.task import Task
from ...files import read_json, write_json
from ...home import home
from ...training.causes import Problem
from ...training.data.build import BuiltDataset
from ...training.data.models.answer_cache import ANSWERS
from ...training.data.models.model_access import ModelAccess
from ...training.jobs.job import JobStatus, Resources, StartWeights
from ...training.jobs.job_store import JobStore
from ...training.plan import TrainingPlan
from ...training.preflight import preflight
from ...training.runners import LAUNCHERS
from ...training.runners.job_runner import JobRunner
from ...training.runners.protocol import LauncherOptions
from ...training.training_context import LAST_RUNG, TrainingContext
from ..executor.data_builder import DataBuilder
from ..executor.executor import Executor, Preflight
from ..memory.insight_store import InsightStore
from ..memory.insights import Insight
from ..researcher.protocol import Researcher, ResearchNotes
from ..steering.control import Control, RequestPoller
from ..store.projection import Projector
from ..tracking.tracking import Tracking, open_tracking
from ..tree.policies import POLICIES
from ..tree.policies.protocol import SearchPolicy
from ..tree.tree import TreeReader
from .agents import Agents, open_agents, open_judge, open_ledger
from .budget import Budget, Clock
from .directory import RunDirectory
from .events import emit
from .migration import migrated
from .runner_choice import launcher_settings
from .settings import Settings

if TYPE_CHECKING:
    from ..llm.call_ledger import CallLedger

_INSIGHTS = TypeAdapter(tuple[Insight, ...])

# Trains a plan on the data sets of its stages to its end with another seed, from these weights if given; the trained
# weights, None if it has failed.
Retrain = Callable[[TrainingPlan, Sequence[str], int, StartWeights | None], Path | None]


@dataclass
class Runtime:
    """Everything that the nodes of a run use."""

    settings: Settings
    task: Task
    directory: RunDirectory
    researcher: Researcher
    executor: Executor
    grader: Grader
    runner: JobRunner
    policy: SearchPolicy
    budget: Budget
    projector: Projector
    reader: TreeReader
    retrain: Retrain
    watch: RequestPoller | None = None
    """Cancels what trains when a person asks for the end at once."""
    tracking: Tracking | None = None
    """Tells an experiment tracker of trials."""
    interrupt_calls: Callable[[], None] = lambda: None
    """Ends the calls of chat models that are waiting."""
    held: IO[str] | None = None
    """The run's lock, where no session holds it."""

    @cached_property
    def control(self) -> Control:
        """Hints, pauses and stops that a person has requested."""
        return Control(self.directory.path)

    @cached_property
    def notes(self) -> ResearchNotes:
        """The notes that `research` saved."""
        return ResearchNotes.model_validate(read_json(self.directory.research))

    def look_back(self) -> None:
        """Save the insights of earlier runs on similar tasks once, so that a resumed run uses the same."""
        if not self.directory.earlier_insights.exists():
            store = InsightStore(smoke=self.settings.smoke)
            found = store.find(self.task, self.directory.path) if self.settings.reuse else ()
            write_json(
                self.directory.earlier_insights, [insight.model_dump(mode="json") for insight in found]
            )

    @cached_property
    def earlier_insights(self) -> tuple[Insight, ...]:
        """Insights of earlier runs, as they were when this run began."""
        path = self.directory.earlier_insights
        return _INSIGHTS.validate_python(read_json(path)) if path.exists() else ()

    def interrupt(self) -> None:
        """Stop what runs, so that the run can be resumed: jobs keep their checkpoints."""
        self.interrupt_calls()
        self.runner.cancel()
        self.grader.close()

    def close(self) -> None:
        """Release processes, save the clock, let go of the run."""
        if self.watch is not None:
            self.watch.close()
        self.runner.close()
        self.grader.close()
        self.budget.clock.close()
        if self.held is not None:
            self.held.close()


OpenRuntime = Callable[[Settings], Runtime]


def open_runtime(settings: Settings) -> Runtime:
    """The runtime of a run: jobs on the launcher of its settings, the grader in a process of its own."""
    directory = RunDirectory.open(settings.path)
    task = directory.task()
    model = resolve_model(task.base_model)
    ledger = open_ledger(settings, directory)
    judge = open_judge(settings, task, ledger)
    grader = GraderClient(
        task, directory.path, model, threads=settings.grader_threads, engine=settings.engine, judge=judge
    )
    launcher = LAUNCHERS.load(settings.launcher)(
        LauncherOptions(
            slots=settings.slots,
            threads=settings.threads,
            settings=launcher_settings(settings.launcher, settings.launcher_settings),
        )
    )
    runner = JobRunner(launcher, JobStore(_store("trials") if settings.reuse else None))
    grader.start()
    launcher.start()

    def check(dataset: BuiltDataset, plan: TrainingPlan) -> list[Problem]:
        return preflight(dataset.folder, plan, model)

    try:
        runtime = assemble(settings, directory, task, model, grader, runner, check, ledger)
    except BaseException:
        # A chat model without its key, for one: no runtime will close what was started.
        runner.close()
        grader.close()
        raise
    if judge is not None:
        runtime.budget.judge_allows = judge.leaves_enough
    return runtime


def assemble(
    settings: Settings,
    directory: RunDirectory,
    task: Task,
    model: Path,
    grader: Grader,
    runner: JobRunner,
    check: Preflight,
    ledger: CallLedger | None = None,
) -> Runtime:
    """Put a runtime together around a grader, a runner and a preflight check."""
    budget = Budget(settings.budget_seconds, Clock(directory.clock))
    training = TrainingContext(
        runner=runner,
        model=model,
        model_hash=model_hash(model),
        trials=directory.trials,
        datasets=directory.datasets,
        seed=settings.seed,
        threads=settings.threads,
        device=settings.device,
        rungs=settings.rungs,
        deadline=budget.deadline,
        on_progress=_emit_progress,
        resource_class=settings.resource_class,
        resources=_resources(settings),
    )
    agents = open_agents(settings, task, directory, budget.deadline, ledger)
    executor = Executor(
        prepare_data=_data_builder(settings, directory, task, grader, agents, budget).prepare,
        train=training.train,
        evaluate=lambda weights, limit: grader.evaluate(weights, "search", limit),
        preflight=check,
        budget=budget,
        rung_items=settings.rung_items,
        repair_agent=agents.repair_agent,
    )

    def retrain(
        plan: TrainingPlan, datasets: Sequence[str], seed: int, start: StartWeights | None
    ) -> Path | None:
        return replace(training, seed=seed).train(plan, datasets, LAST_RUNG, start).adapter

    return Runtime(
        settings=settings,
        task=task,
        directory=directory,
        researcher=agents.researcher,
        executor=executor,
        grader=grader,
        runner=runner,
        policy=POLICIES.load(settings.policy)(settings.seed),
        budget=budget,
        projector=Projector(directory.experiments, directory.path),
        reader=TreeReader(),
        retrain=retrain,
        tracking=open_tracking(settings.track, directory),
        watch=RequestPoller(Control(directory.path).stops_now, runner.cancel),
        interrupt_calls=agents.interrupt,
    )


def _resources(settings: Settings) -> Resources:
    """What one training job may take."""
    return Resources(
        devices=settings.devices if settings.device == "cuda" else 0,
        memory_mb=settings.memory_limit_mb,
        seconds=settings.job_timeout_s,
    )


def _data_builder(
    settings: Settings, directory: RunDirectory, task: Task, grader: Grader, agents: Agents, budget: Budget
) -> DataBuilder:
    """Builds data sets, with models for the steps of recipes that use one, within the budget."""
    store = _store("datasets") if settings.reuse else None
    models = ModelAccess(
        task,
        (store or directory.datasets) / ANSWERS,
        settings.engine,
        settings.grader_threads,
        agents.open_text_model,
        seconds_left=budget.left,
    )
    return DataBuilder(task, directory.datasets, store, grader, models, settings.allow_python)


class RuntimeRegistry:
    """The runtimes that are open in this process, one for each run directory; nodes share them across supersteps."""

    def __init__(self, open_runtime: OpenRuntime = open_runtime) -> None:
        self._open_runtime = open_runtime
        self._runtimes: dict[str, Runtime] = {}
        self._lock = threading.Lock()
        self._closed = False

    def open(self, settings: Mapping[str, Any]) -> Runtime:
        """The runtime of the run with these settings, which are validated when it is opened, at the first call.

        Raises TrexError after `close`: a node of a run that was stopped may still be at work in its thread.
        """
        directory = settings["directory"]
        with self._lock:
            if self._closed:
                raise TrexError("the run was stopped")
            if directory not in self._runtimes:
                self._runtimes[directory] = self._open_runtime(
                    Settings.model_validate(migrated("settings", settings))
                )
            return self._runtimes[directory]

    def interrupt(self) -> None:
        """Stop what runs in any of them."""
        for runtime in list(self._runtimes.values()):
            runtime.interrupt()

    def record_failure(self, error: Exception) -> None:
        """Write into each run's directory why the run ended."""
        for runtime in list(self._runtimes.values()):
            runtime.directory.record_failure(error)

    def close(self) -> None:
        """Close them all, for good."""
        with self._lock:
            self._closed = True
            for runtime in self._runtimes.values():
                runtime.close()
            self._runtimes.clear()


def _store(kind: str) -> Path:
    return home() / "store" / kind


def _emit_progress(status: JobStatus) -> None:
    emit("training", **status.model_dump(mode="json", exclude={"pid", "heartbeat"}))
