"""What every Researcher must keep: typed answers on the task's own sources, the same ones when asked again."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.chat import FakeChat
from support.cli import on_the_torch_free_runtime
from support.llm_plans import model
from support.outside_package import write_package
from support.recipes import reviews
from support.tree import experiment
from trex import run
from trex.evaluation.task import Prompt, Source, Task
from trex.files import write_jsonl
from trex.graph.llm.model_settings import ModelSettings
from trex.graph.memory.memory_context import context
from trex.graph.researcher import RESEARCHERS
from trex.graph.researcher.context import ResearcherContext
from trex.graph.researcher.protocol import Evidence, PlanningRequest, Researcher, ResearchNotes
from trex.graph.run.directory import RunDirectory
from trex.graph.run.settings import Settings
from trex.graph.tree.experiment import Diagnosis, Experiment, ExperimentPlan
from trex.graph.tree.tree import Tree

NAMES = RESEARCHERS.names()
TRIALS, EXAMPLES = 3, 160
TOY = """
from pathlib import Path

from trex.graph.researcher.builtin.policy import BuiltinResearcher


class Counting(BuiltinResearcher):
    def __init__(self, context):
        super().__init__(context.settings.seed)
        self.log = context.directory.path / "asked.txt"

    def _note(self, line):
        with self.log.open("a") as file:
            file.write(line + "\\n")

    def analyze(self, task):
        self._note("analyze")
        return super().analyze(task).model_copy(update={"goal": "counted"})

    def research(self, task, analysis):
        self._note(f"research {analysis.goal}")
        return super().research(task, analysis)

    def plan(self, request):
        self._note(f"plan {request.analysis.goal}")
        plan = super().plan(request)
        return plan.model_copy(update={"hypothesis": f"Counted: {plan.hypothesis}"})
"""


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    folder = tmp_path_factory.mktemp("task")
    write_jsonl(folder / "movies.jsonl", reviews(200))
    for name in ("dev", "test"):
        items = [{"text": f"{name} item {i}", "label": "positive"} for i in range(20)]
        write_jsonl(folder / f"{name}.jsonl", items)
    return Task(
        name="reviews",
        requirement="Tell good reviews from bad ones.",
        base_model="tiny",
        sources=[Source(name="movies", path=str(folder / "movies.jsonl"), licence="MIT")],
        dev=folder / "dev.jsonl",
        test=folder / "test.jsonl",
        prompt=Prompt(user="Positive or negative?\n{text}", answer="{label}"),
        choices=["negative", "positive"],
        rating_column="rating",
    )


def opened(name: str, task: Task, folder: Path) -> Researcher:
    llm = ModelSettings(researcher="fake:model") if name == "agent" else None
    machine = {"slots": 1, "threads": 1, "grader_threads": 1, "memory_limit_mb": 1000}
    settings = Settings(
        task=task.name, directory=str(folder), thread_id="t", llm=llm, researcher=name, **machine
    )
    chat = FakeChat(model) if llm else None
    return RESEARCHERS.load(name)(ResearcherContext(settings, task, RunDirectory(folder), chat))


def check(name: str, task: Task, folder: Path) -> None:
    """All questions in the order of a run, each asked twice."""
    one, other = opened(name, task, folder), opened(name, task, folder)
    analysis = one.analyze(task)
    assert analysis == other.analyze(task)
    assert (analysis.metric, analysis.allowed_data) == (task.metric, ["movies"])

    notes = one.research(task, analysis)
    assert notes == other.research(task, analysis)
    assert ResearchNotes.model_validate_json(notes.model_dump_json()) == notes
    assert "test item" not in notes.model_dump_json()

    root = experiment("e000", None, 0.5)
    request = PlanningRequest(
        task, analysis, notes, context(Tree([root]), "e000"), round=1, trials=TRIALS, trial_examples=EXAMPLES
    )
    plan = one.plan(request)
    assert plan == other.plan(request) == ExperimentPlan.model_validate(plan.model_dump(mode="json"))
    assert plan.strategy != "establish_baseline" and len(plan.trials) == TRIALS
    assert '"movies"' in plan.model_dump_json()

    revised = one.revise(plan, "the recipe leaves no rows", "e001")
    assert revised == other.revise(plan, "the recipe leaves no rows", "e001")
    assert revised is None or revised != plan

    failed = Experiment(
        id="e001",
        parent_id="e000",
        round=1,
        strategy=plan.strategy,
        status="running",
        plan=plan,
        failure="no rows",
    )
    diagnosis = one.diagnose(Evidence(task, failed, root))
    assert diagnosis == other.diagnose(Evidence(task, failed, root))
    assert diagnosis.verdict == "failed" and Diagnosis.model_validate(diagnosis.model_dump()) == diagnosis


@pytest.mark.parametrize("name", NAMES)
def test_every_answer_is_typed_repeatable_and_within_the_task(name: str, task: Task, tmp_path: Path) -> None:
    check(name, task, tmp_path)


def test_the_default_follows_the_model(tmp_path: Path) -> None:
    machine = {"slots": 1, "threads": 1, "grader_threads": 1, "memory_limit_mb": 1000}
    known = {"task": "sentiment", "directory": str(tmp_path), "thread_id": "t"} | machine
    assert Settings.model_validate(known).researcher == "builtin"
    assert Settings.model_validate(known | {"llm": "fake:model"}).researcher == "agent"
    assert (
        Settings.model_validate(known | {"llm": "fake:model", "researcher": "builtin"}).researcher
        == "builtin"
    )


def test_a_researcher_of_an_installed_package_leads_a_run(
    task: Task, tmp_path: Path, fresh_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = "counting = toy_researcher:Counting"
    folder = write_package(tmp_path / "site", "toy_researcher", TOY, {"trex.researchers": line})
    monkeypatch.syspath_prepend(str(folder))
    on_the_torch_free_runtime(monkeypatch)
    assert RESEARCHERS.names() == (*NAMES, "counting")
    check("counting", task, tmp_path)

    done = run("sentiment", out=tmp_path / "run", smoke=True, rounds=2, trials=2, researcher="counting")
    assert done.summary.status == "done"
    plans = [each.plan for each in done.tree if each.plan is not None]
    assert all(plan.hypothesis.startswith("Counted: ") for plan in plans) and len(plans) == 2
    # The requirement is analysed once; research and every plan are given the analysis, a fork's too.
    asked = ["analyze", "research counted", "plan counted", "plan counted"]
    assert (tmp_path / "run" / "asked.txt").read_text().splitlines() == asked
    fork = done.fork("e001", out=tmp_path / "fork", rounds=1)
    assert (fork.directory / "asked.txt").read_text().splitlines() == ["plan counted"]
