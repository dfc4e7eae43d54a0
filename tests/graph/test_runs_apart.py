"""What a run may know of other runs and of its own failures, and what it leaves behind where it cannot begin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.chat import FakeChat
from trex.errors import InputError
from trex.evaluation.splits import search_items
from trex.evaluation.task import Task
from trex.ftbench import bench_commands
from trex.ftbench.tasks.sentiment import load
from trex.graph.cli import commands as cli
from trex.graph.llm.model_settings import ModelSettings
from trex.graph.memory.memory_context import context
from trex.graph.researcher.agent import researcher_tools as toolbox
from trex.graph.researcher.agent.researcher_agent import open_researcher
from trex.graph.researcher.builtin.policy import BuiltinResearcher
from trex.graph.researcher.builtin.source_notes import look_at_sources
from trex.graph.researcher.context import ResearcherContext
from trex.graph.researcher.protocol import PlanningRequest
from trex.graph.run import runtime as runtime
from trex.graph.run.directory import RunDirectory
from trex.graph.run.settings import Settings
from trex.graph.tree.experiment import Experiment
from trex.graph.tree.tree import Tree
from trex.tools.history_tool import history_tool
from trex.training.runners import LAUNCHERS
from typer.testing import CliRunner


@pytest.fixture(scope="module")
def task() -> Task:
    return load(smoke=True)


def settings(directory: Path, **more: Any) -> Settings:
    given = {"thread_id": "t", "slots": 1, "threads": 1, "grader_threads": 1, "memory_limit_mb": 512}
    llm = ModelSettings(researcher="fake:model", planning_turns=1)
    return Settings(task="sentiment", directory=str(directory), llm=llm, **given, **more)


def history_asked_for(task: Task, run: Path, monkeypatch: pytest.MonkeyPatch, **switches: bool) -> Any:
    """Stores of other runs, and items whose predictions are shown, that a plan's history is opened on."""
    opened: list[Any] = []

    def kept(store: Path, tables: Any, others: Any, items: Any) -> Any:
        opened.append(([path.name for path in others], set(items)))
        return history_tool(store, tables, others, items)

    monkeypatch.setattr(toolbox, "history_tool", kept)
    root = Experiment(id="e000", parent_id=None, round=0, strategy="establish_baseline", status="done")
    asked = PlanningRequest(
        task=task,
        analysis=BuiltinResearcher().analyze(task),
        notes=look_at_sources(task),
        context=context(Tree([root]), "e000"),
        round=1,
        trials=1,
        trial_examples=100,
    )
    chat = FakeChat(lambda asked: "nothing")
    researcher = open_researcher(ResearcherContext(settings(run, **switches), task, RunDirectory(run), chat))
    researcher.plan(asked)
    return opened[0]


@pytest.fixture
def beside(tmp_path: Path) -> Path:
    """A run directory with the store of another run next to it."""
    for name in ("mine", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "experiments.duckdb").touch()
    return tmp_path / "mine"


def test_results_of_other_runs_are_ignored_without_reuse(
    task: Task, beside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert history_asked_for(task, beside, monkeypatch)[0] == ["other"]
    assert history_asked_for(task, beside, monkeypatch, reuse=False)[0] == []


@pytest.mark.parametrize(("words", "reuse"), [([], True), (["--llm", "openai:test"], False)])
def test_seeds_of_a_benchmark_do_not_learn_from_one_another(
    words: list[str], reuse: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []

    def entries(tasks: Any, seeds: Any, out: Path, **settings: Any) -> list[Any]:
        asked.append(settings)
        return []

    monkeypatch.setattr("trex.ftbench.runner.entries", entries)
    monkeypatch.setattr("trex.ftbench.bench_commands._show", lambda rows: None)
    CliRunner().invoke(bench_commands.app, ["run", "sentiment", "--out", str(tmp_path), *words])
    assert [settings["reuse"] for settings in asked] == [reuse]


def test_without_diagnosis_no_prediction_is_shown(
    task: Task, beside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = {str(item["id"]) for item in search_items(task)}
    assert history_asked_for(task, beside, monkeypatch)[1] == search != set()
    assert history_asked_for(task, beside, monkeypatch, diagnosis=False)[1] == set()


def test_an_error_is_told_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Brackets are no markup: they name the extra that is missing."""
    cli._print_error(InputError("needs the extra: pip install 'trex-finetune[llm]', see [/x]"), debug=False)
    assert capsys.readouterr().err == "error: needs the extra: pip install 'trex-finetune[llm]', see [/x]\n"


def test_what_was_started_is_closed_if_no_mind_can_be_opened(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    class Service:
        def __init__(self, *given: Any, **more: Any) -> None: ...

        def start(self) -> None:
            done.append("start")

        def close(self) -> None:
            done.append("close")

    def no_key(*given: Any) -> Any:
        raise InputError("OPENAI_API_KEY is not set")

    for name, stand_in in (("GraderClient", Service), ("open_agents", no_key)):
        monkeypatch.setattr(runtime, name, stand_in)
    monkeypatch.setattr(LAUNCHERS, "load", lambda name: Service)
    monkeypatch.setattr(runtime, "resolve_model", lambda name: tmp_path)
    monkeypatch.setattr(runtime, "model_hash", lambda path: "hash")
    run = settings(tmp_path / "run")
    RunDirectory.create(run, task)
    with pytest.raises(InputError, match="OPENAI_API_KEY"):
        runtime.open_runtime(run)
    assert done == ["start", "start", "close", "close"]
