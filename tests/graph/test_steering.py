"""A person steers a run from outside: hints, a pause, a stop, a fork."""

from __future__ import annotations

import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from support.cli import Trex, caller, everything, launch, on_the_torch_free_runtime
from support.kill import run_with_kills, tree_of
from support.places import SUPPORT
from support.torch_free import open_runtime
from trex import Run, load_run, resume, run
from trex.errors import InputError
from trex.evaluation.grader import audit
from trex.files import read_json
from trex.ftbench.tasks.sentiment import load
from trex.graph.api import prepare_run
from trex.graph.nodes import Nodes
from trex.graph.report.integrity import check_integrity
from trex.graph.run.runtime import RuntimeRegistry
from trex.graph.steering.approval import EDITED, Review
from trex.graph.steering.control import HINTS, Control
from trex.graph.steering.requests import STOPPED

TORCH_FREE = str(SUPPORT / "torch_free.py")
QUICK = ("--smoke", "--rounds", "2", "--trials", "2")


@pytest.fixture
def quick_runtime(fresh_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_the_torch_free_runtime(monkeypatch)


@pytest.fixture
def trex(quick_runtime: None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Trex:
    return caller(monkeypatch, capfd)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of two rounds that nobody disturbed. Tests leave it as it is."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TREX_HOME", str(folder / "home"))
        on_the_torch_free_runtime(patch)
        return run("sentiment", out=folder / "run", smoke=True, rounds=2, trials=2)


def start(out: Path, rounds: int = 2, **more: Any) -> Run:
    return run("sentiment", out=out, smoke=True, rounds=rounds, trials=2, **more)


def hypotheses(done: Run) -> list[str]:
    return [each.plan.hypothesis for each in done.tree if each.plan is not None]


# Hints


def test_a_hint_is_for_the_next_plan_alone(quick_runtime: None, tmp_path: Path) -> None:
    def follow(event: dict[str, Any]) -> None:
        if event["event"] == "experiment" and event["id"] == "e001":
            Control(tmp_path / "run").hint("lower the  learning rate\n")

    done = start(tmp_path / "run", rounds=3, follow=follow)
    assert ["'lower the learning rate'" in text for text in hypotheses(done)] == [False, True, False]
    plan = done.tree["e002"].plan
    assert plan is not None and plan.direction == "learning_rate"


def test_hints_are_given_once_under_kills(tmp_path: Path) -> None:
    trees = []
    for kills, name in ((0, "undisturbed"), (2, "killed")):
        folder = tmp_path / name
        folder.mkdir()
        prepare_run(load(smoke=True), out=folder / "run", smoke=True, rounds=2, trials=2, trial_examples=96)
        Control(folder / "run").hint("mind the amazon rows")
        Control(folder / "run").hint("and the tweets")
        go_on = [TORCH_FREE, "resume", str(folder / "run")]
        run_with_kills(go_on, go_on, folder / "run", folder / "home", kills, longest=2.0, seed=3)
        done = load_run(folder / "run")
        told = ["mind the amazon rows\\nand the tweets" in text for text in hypotheses(done)]
        assert told == [True, False]
        trees.append(tree_of(folder / "run"))
    assert trees[0] == trees[1]


def test_a_plan_that_was_lost_leaves_its_hint_unread(
    quick_runtime: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trex.graph.researcher.builtin.policy import BuiltinResearcher

    asked: list[str] = []
    original = BuiltinResearcher.plan

    def dies_once(self: BuiltinResearcher, request: Any) -> Any:
        asked.append(request.hint)
        plan = original(self, request)
        if len(asked) == 1:
            raise KeyboardInterrupt
        return plan

    monkeypatch.setattr(BuiltinResearcher, "plan", dies_once)
    prepared = prepare_run("sentiment", out=tmp_path / "run", smoke=True, rounds=2, trials=2)
    Control(tmp_path / "run").hint("more data")
    with pytest.raises(KeyboardInterrupt):
        prepared.go()
    resume(tmp_path / "run")
    assert asked == ["more data", "more data", ""]


def test_a_rejected_plan_passes_its_hints_on(quick_runtime: None, tmp_path: Path) -> None:
    asked: list[dict[str, Any]] = []

    def person(question: dict[str, Any]) -> Any:
        asked.append(question)
        if len(asked) == 1:
            Control(tmp_path / "run").hint("more epochs")
            return "reject: fewer rows"
        return {"decision": "edit", "plan": question["plan"] | {"hypothesis": "Mine."}}

    done = start(tmp_path / "run", rounds=1, approve=person)
    assert asked[0]["question"] == "Carry out this plan for e001, which refines e000?"
    assert set(asked[0]["answers"]) == {"accept", "edit", "reject"}
    assert "more epochs" in asked[1]["plan"]["hypothesis"] and "fewer rows" in asked[1]["plan"]["hypothesis"]
    assert done.tree["e001"].repairs == [EDITED]
    assert EDITED in (done.directory / "report.md").read_text()
    kept = [(hint.origin, hint.text) for hint in Control(done.directory).hints()]
    assert kept == [("hint", "more epochs"), ("rejection", "fewer rows")]


def test_plans_turned_down_without_a_word_change(quick_runtime: None, tmp_path: Path) -> None:
    asked: list[dict[str, Any]] = []

    def person(question: dict[str, Any]) -> Any:
        asked.append(question)
        return "reject" if 1 < len(asked) < 4 else "accept"

    done = start(tmp_path / "run", approve=person)
    hypotheses = [question["plan"]["hypothesis"] for question in asked]
    assert len(set(hypotheses)) == 4
    assert [hint.text for hint in Control(done.directory).hints()] == [
        "another plan (1 turned down)",
        "another plan (2 turned down)",
    ]


def test_an_accepted_plan_is_no_edited_one(quick_runtime: None, tmp_path: Path) -> None:
    done = start(tmp_path / "run", rounds=1, approve=lambda question: "accept")
    assert done.tree["e001"].repairs == []


def test_nobody_is_asked_where_nobody_was_to_be(tmp_path: Path) -> None:
    """The graph passes `approve` by; a thread in Studio can be sent there all the same."""
    state: Any = {"settings": {"approve": False, "directory": str(tmp_path)}}
    assert Nodes().ask(state) == "prepare"
    assert Nodes().approve(state).goto == "prepare"
    state["settings"]["approve"] = True
    assert Nodes().ask(state) == "approve"


def test_sessions_run_side_by_side_in_one_process(quick_runtime: None, tmp_path: Path) -> None:
    meeting = threading.Barrier(2, timeout=60)

    def follow(event: dict[str, Any]) -> None:
        if event["event"] == "planned":
            meeting.wait()

    runs = [
        threading.Thread(target=start, args=(tmp_path / name, 1), kwargs={"follow": follow})
        for name in ("one", "other")
    ]
    for each in runs:
        each.start()
    for each in runs:
        each.join()
    assert all(load_run(tmp_path / name).summary.status == "done" for name in ("one", "other"))


@pytest.mark.parametrize(
    ("said", "decision", "hint"),
    [("accept", "accept", ""), (" Reject ", "reject", ""), ("reject: less: data", "reject", "less: data")],
)
def test_answers_as_text(said: str, decision: str, hint: str) -> None:
    review = Review.model_validate(said)
    assert (review.decision, review.hint) == (decision, hint)


def test_hints_survive_torn_lines_and_repetitions(tmp_path: Path) -> None:
    control = Control(tmp_path)
    assert control.hints() == []
    for _ in range(2):
        control.hint("twice said, twice meant")
        control.hint("from the form", "form")
    with (tmp_path / HINTS).open("a") as file:
        file.write('{"text": "torn')
    control.hint("after the crash")
    control.hint("no, other data", "rejection", "e001")
    texts = [hint.text for hint in control.unread(0)]
    assert texts == ["twice said, twice meant", "from the form", "twice said, twice meant", "after the crash"]
    assert [hint.text for hint in control.unread(3)] == ["after the crash"]
    assert control.hints()[-1].text == "no, other data"


@pytest.mark.parametrize("text", ["", "  \n", "x" * 2001])
def test_a_hint_that_cannot_be_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match="hint"):
        Control(tmp_path).hint(text)
    assert not (tmp_path / HINTS).exists()


# Pause


def until(happens: Any, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def training(out: Path) -> bool:
    states = [read_json(file) for file in out.glob("trials/*/status.json")]
    return any(state["state"] == "training" and state["step"] >= 1 for state in states)


def test_a_paused_run_goes_on_as_if_nothing_had_happened(trex: Trex, tmp_path: Path, finished: Run) -> None:
    out = tmp_path / "run"
    process = launch(tmp_path, 0.5, "run", "sentiment", *QUICK, "--out", out)
    until(lambda: training(out))
    assert trex("pause", out).out == f"paused: continue with `trex resume {out}`\n"
    _, complaint = process.communicate(timeout=20)
    assert process.returncode == 130
    assert complaint.strip() == f"interrupted: continue with `trex resume {out}`"
    assert load_run(out).summary.status == "interrupted"
    assert not (out / "pause.json").exists()
    trex("pause", out).complains(2, "no process is running", "nothing to pause")
    assert trex("resume", out).code == 0
    assert tree_of(out) == tree_of(finished.directory)


@pytest.mark.slow
def test_a_run_in_a_thread_is_paused_too(quick_runtime: None, tmp_path: Path, finished: Run) -> None:
    out, ended = tmp_path / "run", []
    prepared = prepare_run("sentiment", out=out, smoke=True, rounds=2, trials=2)

    def follow(event: dict[str, Any]) -> None:
        if event["event"] == "experiment" and event["id"] == "e001":
            Control(out).pause()

    def work() -> None:
        try:
            prepared.go(follow=follow, runtimes=RuntimeRegistry(open_runtime))
        except KeyboardInterrupt as error:
            ended.append(error)

    worker = threading.Thread(target=work)
    worker.start()
    worker.join(timeout=60)
    assert len(ended) == 1 and load_run(out).summary.status == "interrupted"
    assert len(load_run(out).tree) < 3
    resume(out)
    assert tree_of(out) == tree_of(finished.directory)


# Stop


def test_a_stop_ends_the_run_after_its_round(quick_runtime: None, tmp_path: Path, finished: Run) -> None:
    out = tmp_path / "run"

    def follow(event: dict[str, Any]) -> None:
        if event["event"] == "prepared":
            Control(out).stop("round")

    done = start(out, rounds=2, follow=follow)
    assert done.summary.status == "done" and done.summary.reason == "stopped"
    assert done.best is not None and done.best.test is not None
    expected = tree_of(finished.directory)
    assert tree_of(out) == {name: expected[name] for name in ("e000", "e001")}


def test_a_stop_at_once_cuts_what_trains(trex: Trex, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = launch(tmp_path, 30, "run", "sentiment", *QUICK, "--out", out)
    until(lambda: any(out.glob("trials/*/status.json")))
    said = trex("stop", out, "--now")
    assert said.out.strip() == f"{out} ends now, with the last finished rung of each trial"
    process.communicate(timeout=30)
    assert process.returncode == 0
    done = load_run(out)
    [_, cut] = done.tree
    assert {trial.status for trial in cut.trials} == {"stopped"}
    assert cut.failure is not None and STOPPED in cut.failure
    assert done.summary.reason == "stopped"
    trex("stop", out).complains(2, "is done", "trex fork")
    trex("hint", out, "too late").complains(2, "is done")


def test_a_stop_between_rungs_counts_what_was_reached(quick_runtime: None, tmp_path: Path) -> None:
    out = tmp_path / "run"

    def follow(event: dict[str, Any]) -> None:
        if event["event"] == "evaluated":
            Control(out).stop("now")

    done = start(out, follow=follow)
    first = done.tree["e001"]
    assert first.status == "done" and first.score is not None
    assert any(trial.status == "stopped" and trial.rung == 0 for trial in first.trials)
    assert len(done.tree) == 2


def test_a_stop_without_a_process_waits_for_one(trex: Trex, tmp_path: Path) -> None:
    prepare_run("sentiment", out=tmp_path / "run", smoke=True, rounds=2, trials=2)
    said = trex("stop", tmp_path / "run")
    assert "no process is running it" in said.out and "trex resume" in said.out
    assert trex("resume", tmp_path / "run").code == 0
    done = load_run(tmp_path / "run")
    assert done.summary.reason == "stopped" and len(done.tree) == 1


# Fork


def test_a_fork_goes_on_from_any_experiment(quick_runtime: None, tmp_path: Path, finished: Run) -> None:
    before, events = everything(finished.directory), []
    done = finished.fork("e000", out=tmp_path / "fork", rounds=2, hint="more epochs", follow=events.append)
    assert everything(finished.directory) == before
    inherited = tree_of(finished.directory)
    assert {name: node for name, node in tree_of(done.directory).items() if name in inherited} == inherited
    assert next(event["id"] for event in events if event["event"] == "selected") == "e000"
    assert done.tree["e003"].parent_id == "e000"
    assert "more epochs" in hypotheses(done)[2] and "more epochs" not in hypotheses(done)[3]
    assert read_json(done.directory / "check.json") == read_json(finished.directory / "check.json")
    assert done.settings.rounds == 4 and done.settings.thread_id != finished.settings.thread_id
    evaluated = {event["trial"] for event in events if event["event"] == "evaluated"}
    assert evaluated.isdisjoint(trial.id for node in finished.tree for trial in node.trials)
    assert done.experiments["id"].tolist() == ["e000", "e001", "e002", "e003", "e004"]


def test_a_fork_is_judged_like_a_run_and_says_that_test_was_seen(
    quick_runtime: None, tmp_path: Path, finished: Run
) -> None:
    done = finished.fork("e001", out=tmp_path / "fork")
    seen = check_integrity(done.directory, load(smoke=True))
    assert seen.faults == []
    assert seen.test_openings == 1
    asked = check_integrity(finished.directory, load(smoke=True)).dev_evaluations
    assert seen.dev_evaluations > asked, "what was asked of dev counts on"
    assert done.best is not None and done.best.test_seen
    assert finished.best is not None and not finished.best.test_seen
    again = done.fork("e003", out=tmp_path / "again")
    assert again.best is not None and again.best.test_seen and len(again.tree) == 5


@pytest.mark.slow
def test_a_fork_of_a_run_under_way_has_a_fresh_test(quick_runtime: None, tmp_path: Path) -> None:
    out = tmp_path / "run"

    def follow(event: dict[str, Any]) -> None:
        if event["event"] == "planned" and event["id"] == "e002":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        start(out, rounds=3, follow=follow)
    fork = load_run(out).prepare_fork("e001", out=tmp_path / "fork")
    assert fork.settings.rounds == 3
    done = fork.go()
    assert done.tree["e002"].parent_id == "e001"
    assert done.best is not None and not done.best.test_seen
    late = load_run(out).prepare_fork("e001", out=tmp_path / "late", rounds=1)
    resume(out)
    seen = late.go().best
    assert seen is not None and seen.test_seen, "the split was opened between the fork and its end"


def test_a_forged_trail_counts_as_seen(quick_runtime: None, tmp_path: Path, finished: Run) -> None:
    from trex.graph.steering.lineage import saw_test_split

    fork = finished.prepare_fork("e000", out=tmp_path / "fork").directory.path
    [*_, entry] = audit.read(fork)
    assert entry.detail["test_openings"] == 1 and saw_test_split(fork)
    trail = fork / audit.FILE
    trail.write_text(trail.read_text().replace('"test_openings":1', '"test_openings":0'))
    assert saw_test_split(fork)


@pytest.mark.parametrize(
    ("experiment", "words"), [("e009", "'e009' is not in the tree"), ("e0", "choose one of e000, e001, e002")]
)
def test_what_cannot_be_refined_is_not_forked(
    trex: Trex, tmp_path: Path, finished: Run, experiment: str, words: str
) -> None:
    trex("fork", finished.directory, experiment, "--out", tmp_path / "fork").complains(2, words)
    assert not (tmp_path / "fork").exists()


def test_a_fork_spares_what_is_there(trex: Trex, tmp_path: Path, finished: Run) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("mine")
    trex("fork", finished.directory, "e000", "--out", tmp_path / "mine").complains(2, "is not empty")
    trex("fork", finished.directory, "e000", "--out", finished.directory).complains(2, "already holds a run")
    trex("fork", finished.directory, "e000", "--rounds", "2000", "--out", tmp_path / "new").complains(
        2, "rounds"
    )
    assert (tmp_path / "mine" / "file").read_text() == "mine" and not (tmp_path / "new").exists()


def test_the_command_forks_and_runs(trex: Trex, tmp_path: Path, finished: Run) -> None:
    said = trex(
        "fork",
        finished.directory,
        "e002",
        "--out",
        tmp_path / "fork",
        "--rounds",
        "1",
        "--hint",
        "more epochs",
    )
    assert said.code == 0, said
    assert load_run(tmp_path / "fork").tree["e003"].parent_id == "e002"


@pytest.mark.slow
def test_a_fork_survives_kills(tmp_path: Path, finished: Run) -> None:
    trees = []
    for kills, name in ((0, "undisturbed"), (2, "killed")):
        folder = tmp_path / name
        folder.mkdir()
        finished.prepare_fork("e001", out=folder / "run", rounds=1, hint="more epochs")
        go_on = [TORCH_FREE, "resume", str(folder / "run")]
        run_with_kills(go_on, go_on, folder / "run", folder / "home", kills, longest=1.5, seed=5)
        trees.append(tree_of(folder / "run"))
    assert trees[0] == trees[1]


def test_a_fork_with_a_chat_model_is_planned_by_it(
    finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    assert finished.prepare_fork("e001", out=tmp_path / "same").settings.researcher == "builtin"
    with_model = finished.prepare_fork("e001", out=tmp_path / "model", llm="openai:test")
    assert with_model.settings.researcher == "agent"


def test_commands_explain_themselves() -> None:
    import sys

    said = subprocess.run(
        [sys.executable, "-m", "trex.graph.cli.commands", "--help"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    for command in ("pause", "stop", "hint", "fork"):
        assert f" {command} " in said.stdout
