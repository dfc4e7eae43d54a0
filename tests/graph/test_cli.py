"""The verbs of the command line, stopping and resuming, budgets, approval, seeds: on a runtime without torch."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.cli import Trex, caller, launch, on_the_torch_free_runtime
from support.kill import processes_of, tree_of
from support.llm_server import LLMServer
from support.llm_wire import Fault
from trex import Run, load_run, resume, run
from trex.evaluation.metrics import METRICS
from trex.files import read_json

QUICK = ("--rounds", "1", "--trials", "2", "--smoke")


# What the end of a run may take beyond its budget here: the torch-free runtime's baseline says little about it.
END_S = 4.0


@pytest.fixture
def trex(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], fresh_home: Path) -> Trex:
    on_the_torch_free_runtime(monkeypatch)
    return caller(monkeypatch, capfd)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A run of two rounds that nothing came in the way of."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TREX_HOME", str(folder / "home"))
        on_the_torch_free_runtime(patch)
        yield run("sentiment", out=folder / "run", smoke=True, rounds=2, trials=2)


def test_help_names_every_verb(trex: Trex) -> None:
    for words in ((), ("--help",), ("-h",)):
        said = trex(*words)
        assert said.code == 0
        for verb in ("tasks", "metrics", "assets", "run", "resume", "show", "report", "replay", "doctor"):
            assert f" {verb} " in said.out, words


def test_help_of_run_names_every_option(trex: Trex) -> None:
    said = trex("run", "--help")
    options = ["rounds", "trials", "budget", "policy", "seed", "out", "smoke", "approve", "no-reuse", "keep"]
    assert said.code == 0 and [name for name in options if f"--{name}" not in said.out] == []


def test_tasks_lists_what_is_installed(trex: Trex) -> None:
    said = trex("tasks")
    assert said.code == 0 and "sentiment" in said.out and "molecules" in said.out


def test_metrics_are_listed_with_an_example_each(trex: Trex) -> None:
    said = trex("metrics")
    assert said.code == 0
    for name in METRICS.own_names():
        assert f"metric: {name}" in said.out or f"metric: {{name: {name}" in said.out
    one = trex("metrics", "numeric")
    assert one.code == 0 and "relative_tolerance" in one.out and "tolerance: 0.01" in one.out
    unknown = trex("metrics", "acuracy")
    assert unknown.code == 2 and "no metric 'acuracy'; there are: accuracy" in unknown.err


def test_doctor_probes_a_model(trex: Trex) -> None:
    with LLMServer() as server:
        asked = "doctor", "--llm", "openai:test", "--llm-set", f"base_url={server.url}"
        said = trex(*asked)
        assert said.code == 0 and said.out.count("ok ") == 4, said
        server.wire.faults.extend([Fault("refused")] * 9)
        said = trex(*asked)
        assert said.code == 1 and said.out.count("check the key") == 3 and "no mode works" in said.out


def test_doctor_looks_at_the_machine(trex: Trex) -> None:
    said = trex("doctor")
    assert said.code in (0, 1)
    for what in ("torch", "cores", "memory", "disk"):
        assert what in said.out


def test_a_run_from_first_to_last(trex: Trex, tmp_path: Path, undisturbed: Run) -> None:
    words = ("run", "sentiment", "--smoke", "--rounds", "2", "--trials", "2", "--out", tmp_path / "run")
    said = trex(*words)
    assert said.code == 0 and said.err == "", said
    for words in ("2 rounds of 2 trials", "expected time", "disk", "promoted", "test", "all rounds are done"):
        assert words in said.out
    assert tree_of(tmp_path / "run") == tree_of(undisturbed.directory), "one seed, one tree"
    assert trex("resume", tmp_path / "run").code == 0
    assert trex("show", tmp_path / "run").out.strip().splitlines()[0] in said.out
    assert json.loads(trex("show", tmp_path / "run", "--json").out)["status"] == "done"


def test_no_rounds_score_the_base_model(trex: Trex, tmp_path: Path) -> None:
    said = trex("run", "sentiment", "--smoke", "--rounds", "0", "--out", tmp_path / "run")
    assert said.code == 0, said
    summary = json.loads(trex("show", tmp_path / "run", "--json").out)
    assert [e["id"] for e in summary["experiments"]] == ["e000"]
    assert summary["best"]["trial"] is None and summary["best"]["test"]["n"] == 40
    assert not (tmp_path / "run" / "best").exists()
    trex("replay", tmp_path / "run").complains(2, "without a winner")


def test_another_seed_gives_another_tree(trex: Trex, tmp_path: Path, undisturbed: Run) -> None:
    assert trex("run", "sentiment", *QUICK, "--seed", "1", "--out", tmp_path / "run").code == 0
    assert tree_of(tmp_path / "run") != tree_of(undisturbed.directory)
    trials = {t.id for e in load_run(tmp_path / "run").tree for t in e.trials}
    assert trials.isdisjoint(t.id for e in undisturbed.tree for t in e.trials)


def test_another_policy_and_everything_kept(trex: Trex, tmp_path: Path) -> None:
    words = ("--policy", "random", "--keep", "all", "--out", tmp_path / "run")
    assert trex("run", "sentiment", *QUICK, *words).code == 0
    assert load_run(tmp_path / "run").summary.policy == "random"
    for trial in (tmp_path / "run" / "trials").iterdir():
        assert (trial / "rungs" / "0" / "adapter").exists()


def went_the_same_way(directory: Path, other: Run) -> bool:
    """Whether a run of one round did what the other's first round did."""
    expected = tree_of(other.directory)
    return tree_of(directory) == {name: expected[name] for name in ("e000", "e001")}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: Run, number: signal.Signals
) -> None:
    out = tmp_path / "run"
    process = launch(tmp_path, 0.3, "run", "sentiment", *QUICK, "--out", out)
    worker = _worker_of(out)
    process.send_signal(number)
    asked = time.monotonic()
    _, complaint = process.communicate(timeout=60)
    assert time.monotonic() - asked < 10
    assert process.returncode == 130
    assert complaint.strip() == f"interrupted: continue with `trex resume {out}`"
    assert not psutil.pid_exists(worker) and processes_of(out) == []
    assert load_run(out).summary.status == "interrupted"
    went_on = launch(tmp_path, 0.03, "resume", out)
    _, complaint = went_on.communicate(timeout=120)
    assert (went_on.returncode, complaint) == (0, "")
    assert went_the_same_way(out, undisturbed)


def test_a_run_interrupted_before_it_began_goes_on(tmp_path: Path, undisturbed: Run) -> None:
    out = tmp_path / "run"
    process = launch(tmp_path, 0.5, "run", "sentiment", *QUICK, "--out", out)
    until = time.monotonic() + 60
    while not (out / "run.json").exists() and time.monotonic() < until:
        time.sleep(0.01)
    while process.poll() is None:  # an import that swallows exceptions swallows the first Ctrl-C as well
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):  # a second one while it ends would end it at once
            process.wait(timeout=8)
    process.communicate(timeout=60)
    assert process.returncode == 130
    went_on = launch(tmp_path, 0.03, "resume", out)
    _, complaint = went_on.communicate(timeout=120)
    assert (went_on.returncode, complaint) == (0, "")
    assert went_the_same_way(out, undisturbed)


def _worker_of(run: Path) -> int:
    """The pid of a worker in the middle of its training."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        for file in run.glob("trials/*/status.json"):
            status = read_json(file)
            if status["state"] == "training" and status["step"] >= 1:
                return int(status["pid"])
        time.sleep(0.02)
    raise subprocess.TimeoutExpired("worker", 60)


def test_at_its_budget_a_run_ends_cleanly(
    fresh_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_the_torch_free_runtime(monkeypatch, step_seconds=0.1)
    done = run("sentiment", out=tmp_path / "run", smoke=True, rounds=100, trials=2, budget="15s")
    summary = done.summary
    assert (summary.status, summary.reason) == ("done", "budget")
    assert summary.spend.active_seconds < 15 + END_S
    assert 1 < len(done.tree) < 100
    assert summary.best is not None and summary.best.test is not None
    assert (tmp_path / "run" / "report.html").exists()


def test_a_budget_too_small_for_a_round_scores_the_base_model(trex: Trex, tmp_path: Path) -> None:
    said = trex("run", "sentiment", *QUICK, "--budget", "1s", "--out", tmp_path / "run")
    assert said.code == 0 and "budget" in said.out
    summary = load_run(tmp_path / "run").summary
    assert summary.reason == "budget" and summary.best is not None and summary.best.test is not None


def test_a_budget_counts_what_was_spent_before_a_resume(
    fresh_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_the_torch_free_runtime(monkeypatch, step_seconds=0.1)
    out = tmp_path / "run"
    began = time.monotonic()

    def stop_late_in_the_budget(event: dict[str, Any]) -> None:
        if event["event"] == "evaluated" and time.monotonic() - began > 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(
            "sentiment",
            out=out,
            smoke=True,
            rounds=100,
            trials=2,
            budget="9s",
            follow=stop_late_in_the_budget,
        )
    before = load_run(out)
    spent = before.summary.spend.active_seconds
    assert spent > 5
    time.sleep(1.5)  # a pause is no active time
    resumed = time.monotonic()
    done = resume(out)
    took = time.monotonic() - resumed
    assert done.summary.reason == "budget"
    assert spent < done.summary.spend.active_seconds < spent + took + 1
    # A new budget of 9 seconds would give more rounds than the first 6 seconds gave, on any machine.
    assert len(done.tree) - len(before.tree) <= len(before.tree)


class Person:
    """Answers one after another; keeps what it was asked."""

    def __init__(self, *answers: dict[str, Any]) -> None:
        self.answers = list(answers)
        self.asked: list[dict[str, Any]] = []

    def __call__(self, question: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(question)
        answer = self.answers.pop(0)
        if answer["decision"] == "edit":
            return {"decision": "edit", "plan": question["plan"] | answer["changes"]}
        return answer


def test_a_person_accepts_edits_and_rejects_plans(
    fresh_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_the_torch_free_runtime(monkeypatch)
    person = Person(
        {"decision": "accept"},
        {"decision": "reject", "hint": "lower the learning rate"},
        {"decision": "edit", "changes": {"trials": []}},
        {"decision": "maybe"},
        {"decision": "edit", "changes": {"hypothesis": "Mine."}},
    )
    done = run("sentiment", out=tmp_path / "run", smoke=True, rounds=2, trials=2, approve=person)
    first, second, third, fourth, fifth = person.asked
    assert first["problem"] == second["problem"] == third["problem"] == ""
    assert first["plan"]["direction"] == "first_plan"
    assert "lower the learning rate" in third["plan"]["hypothesis"]
    assert third["plan"]["direction"] == "learning_rate" != second["plan"]["direction"]
    assert "trials" in fourth["problem"] and "decision" in fifth["problem"]
    plan = done.tree["e002"].plan
    assert plan is not None and plan.hypothesis == "Mine."
    assert done.tree["e002"].status == "done" and len(done.tree) == 3


def test_a_run_that_waits_for_a_person_can_be_resumed(
    fresh_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: Run
) -> None:
    on_the_torch_free_runtime(monkeypatch)

    def away(question: dict[str, Any]) -> dict[str, Any]:
        raise KeyboardInterrupt

    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run("sentiment", out=out, smoke=True, rounds=1, trials=2, approve=away)
    with pytest.raises(Exception, match="asks a person about every plan"):
        resume(out)
    resume(out, approve=Person({"decision": "accept"}))
    assert went_the_same_way(out, undisturbed)


def test_approving_in_the_terminal(trex: Trex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("click.termui.visible_prompt_func", lambda *_: "a")
    said = trex("run", "sentiment", *QUICK, "--approve", "--out", tmp_path / "run")
    assert said.code == 0 and "hypothesis:" in said.out, said


def test_nobody_at_the_terminal_leaves_a_run_to_resume(tmp_path: Path) -> None:
    process = launch(tmp_path, 0.03, "run", "sentiment", *QUICK, "--approve", "--out", tmp_path / "run")
    _, complaint = process.communicate("", timeout=60)
    assert process.returncode == 130
    assert (
        complaint.strip().splitlines()[-1] == f"interrupted: continue with `trex resume {tmp_path / 'run'}`"
    )
