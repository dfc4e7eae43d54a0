"""The Executor with a chat model: what it may change, what it may not, and what happens without an answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.tools import StructuredTool
from pydantic import BaseModel, ValidationError
from support_chat import Asked, Call, FakeChat, Replies, down
from support_recipes import reviews, task_in
from trex.errors import IntegrityError, PlanError
from trex.evaluation.grader import Grader
from trex.evaluation.results import ContaminationReport
from trex.evaluation.task import Task
from trex.files import read_jsonl
from trex.ftbench.tasks.sentiment import load
from trex.graph.budget import Budget, Clock
from trex.graph.directory import RunDirectory
from trex.graph.executor.answers import Prepared, TrainingChange
from trex.graph.executor.differences import differences
from trex.graph.executor.executor import Executor, Interrupted
from trex.graph.executor.llm import LLMMechanic, open_mechanic
from trex.graph.executor.mechanic import Revise
from trex.graph.executor.preparation import Preparation
from trex.graph.experiment import DatasetCard, ExperimentPlan, TrialPlan, TrialRecord
from trex.graph.llm.protocol import ModelBudgetSpent
from trex.graph.llm.settings import ModelSettings
from trex.graph.settings import Settings
from trex.tools.data import data_tool
from trex.tools.training import TrainingOutcome
from trex.training.data.build import BuiltDataset
from trex.training.data.recipe import DataRecipe, Dedup, Filter, Sample, Shuffle, Stream, Threshold
from trex.training.job import Cause, JobFailed
from trex.training.plan import TrainingPlan
from trex.training.preflight import Problem

LABELLED = Threshold(column="rating", below=-1, above=1)


def plan_of(*steps: Any, source: str = "movie", **training: Any) -> ExperimentPlan:
    return ExperimentPlan(
        strategy="refine_data",
        direction="threshold",
        hypothesis="Clear ratings teach more.",
        recipe=DataRecipe(streams=(Stream(source=source, steps=steps or (LABELLED,)),)),
        trials=[TrialPlan(training=TrainingPlan(batch_size=8, **training), note="as it was")],
    )


@dataclass
class Gate:
    """A grader that finds as many matches as it is told, and counts how often it was asked."""

    matches: int = 0
    failing: Exception | None = None
    asked: list[int] = field(default_factory=list)

    def check_contamination(self, dataset: Path) -> ContaminationReport:
        rows = len(list(read_jsonl(dataset / "train.jsonl")))
        self.asked.append(rows)
        if self.failing and len(self.asked) > 1:
            raise self.failing
        return ContaminationReport(
            checked_rows=rows, against_items=9, matches=self.matches, clean=not self.matches
        )


@dataclass
class Bench:
    """An Executor around a real data set builder, a scripted model and trainings that fail as they are told."""

    folder: Path
    executor: Executor
    chat: FakeChat
    gate: Gate
    trained: list[TrainingPlan]
    mechanic: LLMMechanic | None

    def prepare(self, plan: ExperimentPlan) -> Preparation:
        return self.executor.prepare(plan, "e003")

    def train(self, plan: TrainingPlan) -> TrialRecord:
        trial = TrialRecord(index=0, status="planned", training=plan)
        card = DatasetCard(fingerprint="d", rows=9)
        return self.executor.run_rung(trial, card, 0, "e003")


MakeBench = Callable[..., Bench]


@pytest.fixture
def bench(tmp_path: Path) -> MakeBench:
    return lambda *replies, **more: make_bench(tmp_path, *replies, **more)


def make_bench(
    tmp_path: Path,
    replies: Replies = (),
    *,
    task: Task | None = None,
    gate: Gate | None = None,
    problems: Callable[[BuiltDataset, TrainingPlan], Sequence[Problem]] = lambda dataset, plan: [],
    failures: Sequence[tuple[Cause, str]] = (),
    log: str = "",
    revise: Revise | None = None,
    model: bool = True,
) -> Bench:
    task = task or load(smoke=True)
    chat, gate = FakeChat(replies, "executor"), gate or Gate()
    (tmp_path / "datasets").mkdir(exist_ok=True)
    directory = RunDirectory(tmp_path)
    frozen = Settings(
        task="sentiment", directory=str(tmp_path), thread_id="t", slots=1, threads=1, grader_threads=1,
        memory_limit_mb=1024, llm=ModelSettings(researcher="openai:x", executor_turns=4),
    )  # fmt: skip
    mechanic = open_mechanic(chat, frozen, task, directory) if model else None
    trained: list[TrainingPlan] = []

    def train(plan: TrainingPlan, dataset: str, rung: int = 0) -> TrainingOutcome:
        trained.append(plan)
        name = f"trial{len(trained)}"
        (tmp_path / "trials" / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / "trials" / name / "log.txt").write_text(log)
        cause, message = failures[min(len(trained), len(failures)) - 1]
        return TrainingOutcome(trial=name, total_steps=12, last_rung=False, failure=JobFailed(cause, message))

    executor = Executor(
        prepare_data=data_tool(task, directory.datasets, None, cast(Grader, gate)),
        train=StructuredTool.from_function(func=train, name="train", description="trains"),
        evaluate=StructuredTool.from_function(func=lambda: None, name="evaluate", description="none"),
        preflight=problems,
        budget=Budget(None, Clock(tmp_path / "clock.json")),
        rung_items=10,
        mechanic=mechanic,
        revise=revise,
    )
    return Bench(tmp_path, executor, chat, gate, trained, mechanic)


# -- a plan that works ---------------------------------------------------------------------------------------


def test_a_plan_that_works_is_looked_at_once_and_left_alone(bench: MakeBench) -> None:
    b = bench([{}])
    ready = b.prepare(plan_of())
    assert (ready.repairs, ready.failure, ready.plan) == ((), None, None)
    assert ready.dataset is not None and ready.dataset.rows == 48
    [asked] = b.chat.asked
    assert asked.purpose == "prepare e003" and asked.answer is Prepared
    assert set(asked.tools) == {"look_at_rows", "preview_recipe", "build_recipe"}
    assert "Clear ratings teach more." in asked.text and "movie: threshold → 48" in asked.text
    # Rows as they will be trained on, with their answers, fenced as data.
    assert "row 4:" in asked.text and "assistant: positive" in asked.text
    fence = asked.text.index("from rows that were built")
    assert fence < asked.text.index("assistant: positive")


def test_a_cleaner_recipe_is_built_checked_and_recorded(bench: MakeBench) -> None:
    wanted = plan_of(LABELLED, Filter(column="text", min_words=4)).recipe
    b = bench([{"recipe": wanted.model_dump(mode="json"), "why": ["Rows of two words teach nothing."]}])
    ready = b.prepare(plan_of())
    assert ready.failure is None and ready.dataset is not None and 38 < ready.dataset.rows < 48
    assert ready.plan is not None and ready.plan.recipe == wanted
    assert ready.plan.hypothesis == plan_of().hypothesis and ready.plan.trials == plan_of().trials
    assert ready.repairs == (
        'model: added filter {"column":"text","min_words":4} (source \'movie\'): '
        "Rows of two words teach nothing.",
    )


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        (plan_of(LABELLED, source="tweets"), "sources, their order and their weights"),
        (plan_of(Threshold(column="rating", below=-2, above=2)), "only dedup, shuffle and filters by words"),
        (plan_of(LABELLED, Sample(n=40)), "only dedup, shuffle and filters by words"),
        (plan_of(LABELLED, Filter(column="rating", at_least=0)), "only dedup, shuffle and filters by words"),
        (plan_of(LABELLED, *[Shuffle(seed=n) for n in range(4)]), "4 steps differ from the plan's"),
        (plan_of(LABELLED, Filter(column="text", min_words=8)), "of 48 rows: at most 20%"),
        (plan_of(LABELLED, Dedup(columns=("no_such",))), "no column 'no_such'"),
    ],
)
def test_what_would_test_something_else_is_sent_back(
    bench: MakeBench, changed: ExperimentPlan, fault: str
) -> None:
    b = bench([{"recipe": changed.recipe.model_dump(mode="json"), "why": ["It is better."]}, {}])
    ready = b.prepare(plan_of())
    assert fault in b.chat.asked[1].last
    assert (ready.repairs, ready.plan) == ((), None) and ready.dataset is not None
    assert ready.dataset.rows == 48


def test_a_doubt_does_not_stop_a_plan_that_works(bench: MakeBench) -> None:
    cannot = {"why": "Half the rows are irony.", "needs": "Ratings by people."}
    ready = bench([{"cannot": cannot}]).prepare(plan_of())
    assert ready.failure is None and ready.trials[0].status == "planned"
    assert ready.repairs == ("model: carried out as planned, with a doubt: Half the rows are irony.",)
