"""Whole runs against a model server that fails: they end, say so, lose nothing, and book what they owe."""

from __future__ import annotations

import json
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import psutil
import pytest
from rich.console import Console
from support import llm_runs
from support.kill import family, launch
from support.llm_model import Reply, loop_of_tools, talk
from support.llm_runs import begin, open_runtime, planning_model, settings_for
from support.llm_server import LLMServer
from support.llm_wire import Fault
from trex import Run, load_run
from trex.errors import InputError
from trex.graph.api import reopen
from trex.graph.cli.outcome import print_summary
from trex.graph.llm import retries
from trex.graph.llm.call_ledger import read_calls
from trex.graph.llm.protocol import CallRecord
from trex.graph.run.runtime import RuntimeRegistry


@dataclass(frozen=True)
class Undisturbed:
    """A run without faults: where it is, and how many requests it made."""

    path: Path
    requests: int
    tokens: int


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True, scope="module")
def at_home(home: Path) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TREX_HOME", str(home))
        patch.setattr(retries, "wait_random_exponential", lambda **bounds: lambda state: 0.0)
        yield


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, at_home: None) -> Undisturbed:
    path = tmp_path_factory.mktemp("undisturbed") / "run"
    with LLMServer(planning_model) as server:
        run = begin(path, settings_for(server.url))
    assert spend(run)[0] == len(server.requests)
    return Undisturbed(path, len(server.requests), sum(u.tokens_in + u.tokens_out for u in server.used))


def spend(run: Run) -> tuple[int, int, int]:
    """Calls, tokens read, tokens written, as a summary says it."""
    said = run.summary.spend
    return said.calls, said.tokens_in, said.tokens_out


def calls_of(run: Run) -> list[CallRecord]:
    return read_calls(run.directory / "calls.jsonl")


def reserved(path: Path) -> dict[str, tuple[int, int]]:
    """What was set aside for each call, by its id."""
    lines = [json.loads(line) for line in (path / "calls.jsonl").read_text().splitlines()]
    return {
        line["id"]: (line["tokens_in"], line["tokens_out"]) for line in lines if line["event"] == "reserved"
    }


def plans_of(run: Run) -> list[dict[str, Any]]:
    return [e.plan.model_dump(mode="json") for e in run.tree if e.plan is not None]


def says_fallback(run: Run) -> list[bool]:
    """For each experiment, whether its plan says that the built-in policy took over."""
    return [bool(e.plan.fallback) for e in run.tree if e.plan is not None]


def check_done(run: Run) -> None:
    """It came to its end: every experiment has a score, and the winner was tested."""
    assert run.summary.status == "done" and run.summary.reason == "rounds"
    assert all(e.status == "done" and e.score is not None for e in run.tree)
    assert run.best is not None and run.best.test is not None


def test_every_fault_that_passes(tmp_path: Path, undisturbed: Undisturbed) -> None:
    within_analyze = [
        *(Fault("rate_limit", wait="0"), Fault("error"), Fault("dropped"), Fault("wrong_schema")),
        *(Fault("timeout"), Fault("slow")),
    ]
    within_research = [
        *(Fault("no_usage"), Fault("truncated"), Fault("unknown_tool"), Fault("empty"), Fault("huge")),
        *(Fault("no_json"), Fault("slow")),
    ]
    with LLMServer(planning_model, [*within_analyze, *within_research]) as server:
        run = begin(tmp_path / "run", settings_for(server.url, timeout_s=0.7))
    assert not server.wire.faults
    check_done(run)
    assert plans_of(run) == plans_of(load_run(undisturbed.path))
    calls = calls_of(run)
    assert len(calls) == len(server.requests) == spend(run)[0]
    failed = [call for call in calls if call.status == "failed"]
    assert len(failed) == 2 and {(c.tokens_in, c.tokens_out) for c in failed} == {(0, 0)}  # 429 and 500

    # Every other call either costs what the server counted, or the whole of what was set aside.
    billed = [call for call in calls if call.status != "failed"]
    aside = reserved(run.directory)
    whole = []
    for call, used in zip(billed, server.used, strict=True):
        told = (call.tokens_in, call.tokens_out)
        if told == aside[call.id]:
            whole.append(call)
        else:
            assert told == (used.tokens_in, used.tokens_out), call
    lost = [
        "unknown",
        "unknown",
        "answered",
        "unknown",
        "unknown",
    ]  # dropped, timeout, no usage, truncated, no JSON
    assert [call.status for call in whole] == lost
    assert max(call.tokens_out for call in calls) >= 200_000, "more than was allowed, and booked all the same"
    assert spend(run)[1:] == (sum(c.tokens_in for c in calls), sum(c.tokens_out for c in calls))


def test_a_model_that_only_asks_for_tools(tmp_path: Path) -> None:
    with LLMServer(loop_of_tools) as server:
        run = begin(tmp_path / "run", settings_for(server.url))
    check_done(run)
    assert says_fallback(run) == [True, True]
    turns: dict[str, int] = {}
    for call in calls_of(run):
        turns[call.purpose] = turns.get(call.purpose, 0) + 1
    assert turns["analyze"] == 3 and turns["research"] == 8
    assert max(turns.values()) == 8, turns
    assert sum(turns.values()) == len(server.requests) == spend(run)[0]
    assert spend(run)[1:] == (sum(u.tokens_in for u in server.used), sum(u.tokens_out for u in server.used))
    for experiment in run.tree:
        if experiment.plan is not None:
            assert "the model gave no answer" in " ".join(experiment.repairs)
            assert experiment.diagnosis and experiment.diagnosis.fallback


def test_a_server_that_dies_half_way(tmp_path: Path, undisturbed: Undisturbed) -> None:
    def mortal(request: dict[str, Any]) -> Reply:
        if "diagnose e001" not in seen and "# Diagnose experiment e001" in talk(request):
            seen.append("diagnose e001")
            server.wire.faults.extend([Fault("error", status=503)] * 500)
        return planning_model(request)

    seen: list[str] = []
    with LLMServer(mortal) as server:
        run = begin(tmp_path / "run", settings_for(server.url, attempts=2))
    check_done(run)
    assert seen and says_fallback(run) == [False, True]
    assert (run.summary.plans_by_model, run.summary.plans) == (1, 2)
    terminal = Console(record=True, width=200, file=StringIO())
    print_summary(terminal, run.summary)
    pages = [(run.directory / name).read_text() for name in ("report.md", "report.html")]
    assert all("1 of 2 plans by the model" in said for said in (terminal.export_text(), *pages))
    purposes = [call.purpose for call in calls_of(run) if call.status == "failed"]
    assert purposes.count("diagnose e001") == 2, "the first task after the fault makes all its attempts"
    assert max(purposes.count(each) for each in set(purposes) - {"diagnose e001"}) == 1, (
        "each later one probes"
    )
    first, second = [e for e in run.tree if e.plan is not None]
    assert plans_of(run)[0] == plans_of(load_run(undisturbed.path))[0]
    assert "the server answered 503" in second.plan.fallback  # type: ignore[union-attr]
    assert first.diagnosis is not None and "the server answered 503" in first.diagnosis.fallback
    assert any("the model gave no answer" in repair for repair in second.repairs)
    assert spend(run) == (
        len(server.requests),
        sum(u.tokens_in for u in server.used),
        sum(u.tokens_out for u in server.used),
    )


@pytest.mark.parametrize("status", [401, 404])
def test_a_model_that_cannot_be_called_ends_the_run_before_the_baseline(status: int, tmp_path: Path) -> None:
    with LLMServer(planning_model, [Fault("error", status=status)] * 9) as server:
        with pytest.raises(InputError, match=f"the server answered {status}") as refused:
            begin(tmp_path / "run", settings_for(server.url))
        assert refused.value.exit_code == 2 and "\n" not in str(refused.value)
        assert len(server.requests) == 1
        assert not list(load_run(tmp_path / "run").tree)
        # With the mistake mended it goes on.
        server.wire.faults.clear()
        run = reopen(tmp_path / "run").go(runtimes=RuntimeRegistry(open_runtime))
        assert run.summary.plans_by_model == run.summary.plans == 2


@pytest.mark.parametrize(
    ("fault", "most"),
    [
        (Fault("rate_limit", wait="100"), 12),  # longer than the budget: no attempt is repeated
        (Fault("timeout"), 16),
        (Fault("error", status=503), 16),
    ],
    ids=["429", "time-out", "503"],
)
def test_a_fault_that_lasts_is_met_with_few_calls(fault: Fault, most: int, tmp_path: Path) -> None:
    with LLMServer(planning_model, [fault] * 500) as server:
        run = begin(tmp_path / "run", settings_for(server.url, timeout_s=0.3), budget_seconds=90.0)
        assert run.summary.status == "done" and says_fallback(run)[:1] == [True]
        assert run.summary.plans_by_model == 0
        first = [call for call in calls_of(run) if call.purpose == "analyze"]
        assert len(first) == (1 if fault.kind == "rate_limit" else 5)
        assert len(server.requests) <= most


def test_a_budget_that_ends_half_way(tmp_path: Path, undisturbed: Undisturbed) -> None:
    # Enough for the first round, and for any one call of the second, but not for all of them.
    known = calls_of(load_run(undisturbed.path))
    first = [call for call in known if not call.purpose.endswith("e002")]
    most = max(sum(aside) for aside in reserved(undisturbed.path).values())
    budget = sum(call.tokens_in + call.tokens_out for call in first) + most
    assert budget < undisturbed.tokens
    with LLMServer(planning_model) as server:
        run = begin(tmp_path / "run", settings_for(server.url, token_budget=budget))
    check_done(run)
    used = sum(u.tokens_in + u.tokens_out for u in server.used)
    assert budget - most < used == sum(spend(run)[1:]) <= budget
    assert says_fallback(run) == [False, True]
    assert f"of {budget:,} tokens are spent" in plans_of(run)[1]["fallback"]


@dataclass
class Killer:
    """The model of a server whose run is killed while it waits for the answers to some of its requests."""

    run: Path
    at: list[str]
    process: subprocess.Popen[bytes] | None = None

    def __call__(self, request: dict[str, Any]) -> Reply:
        process = self.process
        if process is not None and self.at and self.at[0] in talk(request):
            self.at.pop(0)
            self.process = None
            for each in family(process, self.run):
                with suppress(psutil.NoSuchProcess):
                    each.kill()
        return planning_model(request)


def test_killed_with_calls_on_their_way(tmp_path: Path, home: Path, undisturbed: Undisturbed) -> None:
    run, log, program = tmp_path / "run", tmp_path / "log", llm_runs.__file__
    killer = Killer(run, ["## The direction, decided", "# Diagnose experiment e001"])
    with LLMServer(killer) as server:
        for left, words in ((1, ["run", str(run), server.url]), (0, ["resume", str(run)])):
            process = killer.process = launch([program, *words], home, log)
            process.wait(timeout=240)
            assert len(killer.at) == left and not (run / "finish.json").exists(), log.read_text()[-3000:]
        reopen(run).go(runtimes=RuntimeRegistry(open_runtime))
    again = load_run(run)
    check_done(again)
    assert plans_of(again) == plans_of(load_run(undisturbed.path))
    assert len(server.requests) <= undisturbed.requests + 2, "what was answered is not asked again"
    calls, aside = calls_of(again), reserved(run)
    assert len(calls) == len(server.requests) == spend(again)[0]
    lost = [call for call in calls if call.status == "unknown"]
    assert len(lost) == 2
    for call, used in zip(calls, server.used, strict=True):
        booked = (call.tokens_in, call.tokens_out)
        assert booked == (aside[call.id] if call in lost else (used.tokens_in, used.tokens_out))
