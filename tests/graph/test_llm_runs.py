"""Whole smoke runs that a chat model thinks for, through the real client: the model's plans, its price, its record."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import psutil
import pytest
from support.llm_model import answer_schema, call_with, mode_of, talk, tools_of
from support.llm_runs import HereLauncher, begin, planning_model, settings_for
from support.llm_server import LLMServer
from support.llm_wire import ServerUsage
from trex import Run, load_run, run
from trex.graph.llm.call_ledger import read_calls
from trex.training.jobs.job import Job

SECRET = "sk-test-secret-of-this-run-0123456789"
TREX = [sys.executable, "-m", "trex.graph.cli.commands"]


@dataclass(frozen=True)
class Whole:
    """A finished run, what its server was asked and has counted, what it printed, what its processes knew."""

    run: Run
    requests: list[dict[str, object]]
    used: list[ServerUsage]
    output: str = ""
    environments: tuple[str, ...] = ()

    @property
    def counted(self) -> tuple[int, int, int]:
        """Calls, tokens read, tokens written: the server's own count."""
        used = self.used
        return len(used), sum(each.tokens_in for each in used), sum(each.tokens_out for each in used)


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Shared, so that a trial that was trained for one of the runs is not trained for the next."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("home")
        patch.setenv("TREX_HOME", str(folder))
        patch.delenv("OPENAI_BASE_URL", raising=False)
        yield folder


@pytest.fixture(scope="module")
def by_tools(tmp_path_factory: pytest.TempPathFactory, home: Path) -> Whole:
    """As a person starts it, with the key and the server's address in the environment."""
    path = tmp_path_factory.mktemp("tools") / "run"
    with LLMServer(planning_model) as server:
        known = {"OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": SECRET, "TREX_HOME": str(home)}
        options = [
            "--smoke",
            "--rounds",
            "1",
            "--trials",
            "2",
            "--llm",
            "openai:test",
            "--llm-set",
            "output=tools",
        ]
        process = subprocess.Popen(
            [*TREX, "run", "sentiment", *options, "--out", str(path)],
            env=os.environ | known,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        environments = _environments(process)
    assert process.stdout is not None
    output = process.stdout.read()
    assert process.returncode == 0, output
    return Whole(load_run(path), server.requests, server.used, output, environments)


def _environments(process: subprocess.Popen[str]) -> tuple[str, ...]:
    """The environments of all children, until the process ends."""
    seen: dict[int, str] = {}
    while process.poll() is None:
        try:
            children = psutil.Process(process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            break
        for child in children:
            try:
                seen[child.pid] = str(child.environ())  # between fork and exec it is the parent's
            except (psutil.Error, OSError):
                continue
        time.sleep(0.1)
    process.wait()
    return tuple(seen.values())


def from_python(path: Path, output: str) -> Whole:
    """The same task in this process, one round long."""
    with LLMServer(planning_model) as server:
        settings = settings_for(server.url, output=output)
        done = run("sentiment", smoke=True, rounds=1, trials=2, out=path, llm=settings)
    return Whole(done, server.requests, server.used)


@pytest.fixture(scope="module", params=["tools", "json_schema", "text"])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    if request.param == "tools":
        found: Whole = request.getfixturevalue("by_tools")
        return found
    return from_python(tmp_path_factory.mktemp(request.param) / "run", request.param)


def test_every_plan_and_reading_is_the_models(whole: Whole) -> None:
    assert whole.run.summary.status == "done" and whole.run.best is not None
    assert {mode_of(request) for request in whole.requests} <= {"tools", "json_schema", "text"}
    assert len({mode_of(request) for request in whole.requests}) == 1
    planned = [experiment for experiment in whole.run.tree if experiment.plan is not None]
    assert planned
    for experiment in planned:
        assert experiment.status == "done" and experiment.repairs == []
        assert experiment.plan is not None and not experiment.plan.fallback
        assert experiment.plan.hypothesis.startswith("Another learning_rate") or experiment.round > 1
        assert experiment.diagnosis is not None
        assert "What stays wrong".casefold() in experiment.diagnosis.insights[0].casefold()
        assert not experiment.diagnosis.fallback
    used = {
        tool["name"]
        for call in read_calls(whole.run.directory / "calls.jsonl")
        for tool in call.answer["tools"]
    }
    assert used >= {"search_literature", "check_plan", "look_at_rows", "preview_recipe", "failure_cases"}


def test_the_spend_is_the_servers_to_the_token(whole: Whole) -> None:
    spend = load_run(whole.run.directory).summary.spend
    assert (spend.calls, spend.tokens_in, spend.tokens_out) == whole.counted
    assert whole.counted[0] == len(whole.requests)
    calls = read_calls(whole.run.directory / "calls.jsonl")
    assert [(call.tokens_in, call.tokens_out) for call in calls] == [
        (used.tokens_in, used.tokens_out) for used in whole.used
    ]


def test_the_command_line_shows_it(by_tools: Whole) -> None:
    command = [*TREX, "show", str(by_tools.run.directory), "--json"]
    spend = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)["spend"]
    assert (spend["calls"], spend["tokens_in"], spend["tokens_out"]) == by_tools.counted


def test_the_report_shows_what_it_thought_read_and_spent(whole: Whole) -> None:
    html = (whole.run.directory / "report.html").read_text()
    calls, read, written = whole.counted
    assert f"openai:test: {calls} calls, {read:,} tokens in, {written:,} out" in html
    for said in (
        "was tried least",
        "Short texts carry little evidence",
        "what stays wrong is in the answers",
    ):
        assert said in html, said
    for tool in ("search_literature", "check_plan", "look_at_rows", "preview_recipe", "failure_cases"):
        assert tool in html, tool
    for call in read_calls(whole.run.directory / "calls.jsonl"):
        assert f"{call.purpose} · {call.tokens_in:,} → {call.tokens_out:,} tokens" in html


def tables_of(path: Path) -> dict[str, list[tuple[str, str]]]:
    """Columns and types of each table of a store."""
    with duckdb.connect(str(path), read_only=True) as store:
        rows = store.execute(
            "SELECT table_name, column_name, data_type FROM information_schema.columns ORDER BY ALL"
        ).fetchall()
    found: dict[str, list[tuple[str, str]]] = {}
    for table, column, kind in rows:
        found.setdefault(table, []).append((column, kind))
    return found


@pytest.fixture(scope="module")
def remembering(tmp_path_factory: pytest.TempPathFactory, home: Path) -> Whole:
    return ablated(tmp_path_factory.mktemp("all") / "run")


def ablated(path: Path, **switches: Any) -> Whole:
    with LLMServer(planning_model) as server:
        done = begin(path, settings_for(server.url), rounds=3, **switches)
    return Whole(done, server.requests, server.used)


def test_a_run_by_the_built_in_policy_keeps_the_same_records(remembering: Whole, tmp_path: Path) -> None:
    thought, ruled = remembering.run, begin(tmp_path / "run", None, rounds=3)
    a, b = thought.directory, ruled.directory
    tables = tables_of(a / "experiments.duckdb")
    assert tables == tables_of(b / "experiments.duckdb") and len(tables) >= 5
    for name in set(tables) - {"calls"}:
        assert [len(each.query(f"SELECT * FROM {name}")) > 0 for each in (thought, ruled)] == [True, True], (
            name
        )
    assert (len(thought.query("SELECT * FROM calls")), len(ruled.query("SELECT * FROM calls"))) == (
        len(remembering.requests),
        0,
    )
    optional = {"best"}  # only where a trial is better than the base model
    with_calls, without = ({path.name for path in run.iterdir()} - optional for run in (a, b))
    assert with_calls == without | {"calls.jsonl"}
    one, other = thought.summary.model_dump(mode="json"), ruled.summary.model_dump(mode="json")
    assert one.keys() == other.keys() and one["spend"].keys() == other["spend"].keys()
    assert [e.model_dump(mode="json").keys() for e in thought.tree] == [
        e.model_dump(mode="json").keys() for e in ruled.tree
    ]


def test_the_key_is_nowhere(by_tools: Whole) -> None:
    assert len(by_tools.environments) >= 2, "grader and workers were not seen"
    assert not any(SECRET in text for text in by_tools.environments)
    assert SECRET not in by_tools.output
    files = [path for path in by_tools.run.directory.rglob("*") if path.is_file()]
    assert len(files) > 20
    for path in files:
        assert SECRET.encode() not in path.read_bytes(), path
    # The store compresses what it holds: read it as well.
    store = by_tools.run.directory / "experiments.duckdb"
    for table in tables_of(store):
        assert SECRET not in by_tools.run.query(f"SELECT * FROM {table}").to_csv(), table
    assert SECRET not in json.dumps(by_tools.requests)


def plannings(requests: list[dict[str, object]]) -> list[dict[str, object]]:
    """The requests in which a plan is decided or written."""
    fields = [answer_schema(request)["properties"].keys() for request in requests]
    return [
        request
        for request, wanted in zip(requests, fields, strict=True)
        if {"rests_on", "hypothesis"} & wanted
    ]


def others_named(whole: Whole) -> set[str]:
    """Experiments that the planning prompts speak of beside the one that is refined."""
    named: set[str] = set()
    for request in plannings(whole.requests):
        # What the record of an experiment says of its own parent is no memory.
        text = re.sub(r"(than that of|against) e\d+", "", talk(request))
        refined = text.split("The experiment to refine: ")[1][:4]
        named |= {e.id for e in whole.run.tree if e.id in text} - {refined}
    return named


def test_the_executor_may_train_a_trial_before_the_plan_is_carried_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a job like any other: the trial's first rung finds it done."""
    jobs: list[tuple[str, int]] = []
    submit = HereLauncher.submit

    def counted(self: HereLauncher, job: Job, *resources: Any) -> None:
        jobs.append((job.trial.id, job.rung))
        submit(self, job, *resources)

    def training_model(request: dict[str, Any]) -> Any:
        if "train_model" in tools_of(request) and "from the training of trial 1" not in talk(request):
            return call_with(request, "train_model", {"trial": 1})
        return planning_model(request)

    monkeypatch.setattr(HereLauncher, "submit", counted)
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    with LLMServer(training_model) as server:
        done = begin(tmp_path / "run", settings_for(server.url), rounds=1)
    experiment = done.tree["e001"]
    [said] = [each for each in experiment.repairs if "trained trial 1" in each]
    assert re.search(r"\d+ of \d+ steps, loss 1\.00 → 0\.\d\d, accuracy 0\.\d{3} on 20 items$", said)
    assert experiment.status == "done" and experiment.trials[0].evaluation is not None
    assert jobs[0] == (experiment.trials[0].id, 0)
    assert len(jobs) == len(set(jobs)) == 3, "two trials to the first rung, one of them to the second"


def test_without_memory_plans_see_only_what_they_refine(remembering: Whole, tmp_path: Path) -> None:
    whole = ablated(tmp_path / "run", memory=False)
    for known, on in ((remembering, True), (whole, False)):
        later = [request for request in plannings(known.requests) if "Round 1 of" not in talk(request)]
        assert later
        assert {"## Memory of the search" in talk(request) for request in later} == {on}
        assert any("query_history" in tools_of(request) for request in known.requests) == on
    assert others_named(remembering) and others_named(whole) == set()
    assert all(e.status == "done" for e in whole.run.tree) and not whole.run.summary.memory


def test_without_diagnosis_no_failure_is_looked_at(remembering: Whole, tmp_path: Path) -> None:
    whole = ablated(tmp_path / "run", diagnosis=False)
    for known, on in ((remembering, True), (whole, False)):
        purposes = {call.purpose.split()[0] for call in read_calls(known.run.directory / "calls.jsonl")}
        assert ("diagnose" in purposes) == on
        assert any("failure_cases" in tools_of(request) for request in known.requests) == on
        diagnosed = {e.id for e in known.run.tree if e.diagnosis is not None}
        refined = any(e.parent_id in diagnosed for e in known.run.tree)
        assert any("cause of failures:" in talk(request) for request in known.requests) == (on and refined)
        read = [e.diagnosis for e in known.run.tree if e.diagnosis is not None]
        assert [bool(each.causes) for each in read] == [on] * 3
        assert [bool(each.insights) for each in read] == [on] * 3
    assert all(e.status == "done" for e in whole.run.tree) and not whole.run.summary.diagnosis
