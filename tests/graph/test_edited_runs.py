"""A finished run that was edited by hand: what no longer agrees is said in one line, and the figure is withheld."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import pytest
from support.cli import Trex, caller
from support.finished import copy_of
from trex import Run, load_run
from trex.files import read_json, write_json
from trex.graph.app import build_graph
from trex.graph.report.summary import RunSummary
from trex.graph.run.checkpoint_store import connect, saver
from trex.graph.run.directory import RunDirectory

Edit = Callable[[Path], None]
Held = Callable[[RunSummary], bool]
FORGED = 0.98765


def set_in(name: str, *path: str | int, to: Any = FORGED) -> Edit:
    """Set one value of a JSON document."""

    def edit(run: Path) -> None:
        document = read_json(run / name)
        inner = document
        for key in path[:-1]:
            inner = inner[key]
        assert inner[path[-1]] != to
        inner[path[-1]] = to
        write_json(run / name, document)

    return edit


def remove(*names: str) -> Edit:
    def edit(run: Path) -> None:
        for name in names:
            place = run / name
            shutil.rmtree(place) if place.is_dir() else place.unlink()

    return edit


def append(name: str, text: bytes = b"\n") -> Edit:
    def edit(run: Path) -> None:
        with (run / name).open("ab") as file:
            file.write(text)

    return edit


def write(name: str, text: str) -> Edit:
    def edit(run: Path) -> None:
        (run / name).write_text(text)

    return edit


def both(*edits: Edit) -> Edit:
    def edit(run: Path) -> None:
        for one in edits:
            one(run)

    return edit


def another_winner(run: Path) -> None:
    finish = read_json(run / "finish.json")
    [other] = {path.name for path in (run / "trials").iterdir()} - {finish["winner_trial"]}
    write_json(run / "finish.json", finish | {"winner_trial": other})


def base_as_test(run: Path) -> None:
    """The winner's test score in the base model's place: both are the grader's."""
    finish = read_json(run / "finish.json")
    write_json(run / "finish.json", finish | {"baseline_test": finish["test"]})


def both_files(run: Path) -> None:
    """finish.json and the grader's own file say the same."""
    set_in("finish.json", "test", "score", "value")(run)
    set_in(f"evaluations/{read_json(run / 'finish.json')['test']['id']}.json", "score", "value")(run)


def a_prediction(run: Path) -> None:
    [path] = (run / "predictions").glob(f"test-{read_json(run / 'finish.json')['test']['id']}.jsonl")
    path.write_text(path.read_text().replace('"value": 0.0', '"value": 1.0', 1))


def cut_trail(run: Path) -> None:
    trail = (run / "audit.jsonl").read_text().splitlines(keepends=True)
    (run / "audit.jsonl").write_text("".join(trail[:-1]))
    set_in("finish.json", "test_gain", "value")(run)


def edited_trail(run: Path) -> None:
    trail = (run / "audit.jsonl").read_text()
    (run / "audit.jsonl").write_text(
        trail.replace('"items":', '"items" :', 1).replace('"split":"search"', '"split":"test"', 1)
    )


def tables(run: Path) -> None:
    with duckdb.connect(str(run / "experiments.duckdb")) as connection:
        for table in ("experiments", "trials"):
            connection.execute(f"UPDATE {table} SET score = {FORGED}")


def trail_with_nan(run: Path) -> None:
    trail = (run / "audit.jsonl").read_text()
    (run / "audit.jsonl").write_text(re.sub(r'"items":\d+', '"items":NaN', trail, count=1))


def in_tree(*path: str | int, to: Any = FORGED) -> Edit:
    """Set a value of the best experiment in the checkpoint."""

    def edit(run: Path) -> None:
        directory = RunDirectory.open(run)
        config: Any = {"configurable": {"thread_id": directory.settings().thread_id}}
        with closing(connect(directory)) as connection:
            graph = build_graph(checkpointer=saver(connection))
            node = json.loads(json.dumps(graph.get_state(config).values["tree"]["e001"]))
            inner = node
            for key in path[:-1]:
                inner = inner[key]
            inner[path[-1]] = to
            graph.update_state(config, {"tree": {"e001": node}, "status": "done"}, as_node="finish")

    return edit


def every_trial_score(run: Path) -> None:
    for index in range(2):
        in_tree("trials", index, "evaluation", "score", "value")(run)
    in_tree("score", "value")(run)


def no_best(summary: RunSummary) -> bool:
    return summary.best is None


@cache
def no(field: str) -> Held:
    """Whether a figure of the winner is withheld, and the winner is not."""
    return lambda summary: summary.best is not None and not getattr(summary.best, field)


def nothing(summary: RunSummary) -> bool:
    """No score of the winner needs to be withheld."""
    return summary.best is not None and summary.best.test is not None


FINISH = "finish.json is not what the run wrote at its end"
EDITS: dict[str, tuple[Edit, str, Held]] = {
    "test score": (set_in("finish.json", "test", "score", "value"), "the test score is not in", no("test")),
    "end of the test score's interval": (
        set_in("finish.json", "test", "score", "ci_low"), "the test score is not in the grader's", no("test")),
    "number of test items": (
        set_in("finish.json", "test", "score", "n", to=98765), "the test score is not in", no("test")),
    "confirm score": (
        set_in("finish.json", "confirm", "score", "value"), "the score on confirm is not in", no("confirm")),
    "base model's test score": (
        set_in("finish.json", "baseline_test", "score", "value"), "of the base model is not", no("baseline_test")),
    "winner's test score for the base model's": (base_as_test, "score of the base model is not", no("baseline_test")),
    "search score": (set_in("finish.json", "dev", "score", "value"), "its winner or its score on search", no_best),
    "gain": (set_in("finish.json", "test_gain", "value"), FINISH, no("test_gain")),
    "selection bias": (set_in("finish.json", "selection_bias", "gain"), FINISH, no("selection_bias")),
    "regression check": (
        set_in("finish.json", "regression_checks", 0, "winner"), FINISH, no("regression_checks")),
    "another winner": (another_winner, "its winner or its score on search", no_best),
    "no winner": (set_in("finish.json", "winner_trial", to=None), "its winner or its score on search", no_best),
    "another experiment": (
        set_in("finish.json", "winner_experiment", to="e000"), "its winner or its score on search", no_best),
    "reason": (set_in("finish.json", "reason", to="budget"), FINISH, lambda summary: summary.reason is None),
    "time": (set_in("finish.json", "active_seconds", to=98765.0), FINISH, lambda s: s.spend.active_seconds < 9e4),
    "no finish.json": (remove("finish.json"), "finish.json is missing, although the run has ended", no("test")),
    "finish.json and the evaluation": (both_files, "not what the grader wrote", no("test")),
    "a prediction": (a_prediction, "not what the grader wrote", no("test")),
    "no evaluations": (remove("evaluations"), "not in the grader's records", no_best),
    "adapter": (append("best/adapter/adapter_model.safetensors"), "best/adapter is not the adapter", no("path")),
    "no adapter": (remove("best/adapter"), "best/adapter is not the adapter", no("path")),
    "no best": (remove("best"), "best/adapter is not the adapter", no("path")),
    "recipe in best": (append("best/recipe.yaml"), "best/recipe.yaml: not as the run wrote it", no("path")),
    "model card": (append("best/README.md"), "best/README.md: not as the run wrote it", no("path")),
    "file added to best": (
        write("best/more.py", ""), "best/more.py: not as", no("path")),
    "best and its manifest": (
        both(append("best/README.md"), remove("best/manifest.json")),
        "best/manifest.json is not what the run wrote", nothing),
    "sealed winner": (
        set_in("frozen.json", "winner_hash", to="0" * 64), "frozen.json does not name the winner", nothing),
    "sealed key": (set_in("frozen.json", "key", to="0" * 16), "frozen.json does not name the winner", nothing),
    "sealed path": (set_in("frozen.json", "winner", to="/elsewhere"), "frozen.json: changed since", nothing),
    "no frozen.json": (remove("frozen.json"), "frozen.json does not name the winner", nothing),
    "hash of dev": (set_in("grader.json", "dev", to="0" * 64), "grader.json was changed since", nothing),
    "settings": (set_in("run.json", "settings", "seed", to=98765), "run.json: changed since", nothing),
    "task": (set_in("task.json", "requirement", to="Guess."), "task.json: changed since", nothing),
    "research": (append("research.json"), "research.json: changed since", nothing),
    "a hint": (write("hints.jsonl", "{}"), "hints.jsonl: changed since", nothing),
    "trail without its last entry": (cut_trail, "no entry for the end of the run", no("test_gain")),
    "trail edited": (edited_trail, "no score is shown", no_best),
    "trail with NaN": (trail_with_nan, "does not follow from the entry before it", no_best),
    "no trail": (remove("audit.jsonl"), "audit.jsonl is missing or empty: no score is shown", no_best),
    "score in the tree": (every_trial_score, "e001 trial 1, the score of e001 trial 2: not in", no_best),
    "score of the experiment": (
        in_tree("score", "value"), "the score of e001: not in", lambda s: s.experiments[1].score is None),
    "reward in the tree": (
        in_tree("reward"), "the reward of e001: does not follow from its score",
        lambda s: s.experiments[1].score is not None and s.experiments[1].reward == s.experiments[1].score.value),
    "reward and score in the tree": (
        both(in_tree("reward"), in_tree("score", "value")), "the score of e001: not in",
        lambda s: s.experiments[1].score is None and s.experiments[1].reward == 0),
    "hypothesis in the tree": (
        in_tree("plan", "hypothesis", to="98765 rows."), "its scores and rewards were checked, texts", nothing),
}  # fmt: skip

REPORTED = {held: edit for edit, _, held in EDITS.values()}
"""An edit for each figure that is withheld."""


@pytest.fixture
def trex(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], fresh_home: Path) -> Trex:
    return caller(monkeypatch, capfd)


@pytest.mark.parametrize(("edit", "words", "held"), EDITS.values(), ids=EDITS)
def test_an_edit_is_told_and_the_figure_withheld(
    finished: Run, tmp_path: Path, trex: Trex, edit: Edit, words: str, held: Held
) -> None:
    run = copy_of(finished, tmp_path / "run")
    edit(run)
    summary = load_run(run).summary
    told = [fault for fault in summary.faults if words in fault]
    assert len(told) == 1, summary.faults
    assert held(summary)
    reported = edit in REPORTED.values()  # each page takes a second
    pages = [page.read_text() for page in load_run(run).write_report()[:2]] if reported else []
    said = trex("show", run)
    shows_more = words.startswith(("run.json", "its scores and"))  # these figures are no scores
    assert said.code == 0 and told[0] in said.out
    for shown in (said.out, summary.model_dump_json(), *pages):
        assert shows_more or ("0.988" not in shown and "98765" not in shown), shown


def test_an_unedited_run_has_no_faults(finished: Run, tmp_path: Path, trex: Trex) -> None:
    for place in (finished.directory, copy_of(finished, tmp_path / "moved")):
        summary = load_run(place).summary
        assert summary.faults == [] and summary.best is not None
        best = summary.best
        assert best.test and best.baseline_test and best.test_gain and best.confirm and best.path == "best"
        assert best.selection_bias and best.regression_checks and summary.reason == "rounds"
        assert "withheld" not in trex("show", place).out


def test_tables_of_a_finished_run_are_made_from_what_is_confirmed(finished: Run, tmp_path: Path) -> None:
    run = copy_of(finished, tmp_path / "run")
    tables(run)
    assert load_run(run).experiments.equals(finished.experiments)
    assert load_run(run).trials.equals(finished.trials)
    every_trial_score(run)
    assert load_run(run).query("SELECT count(score) FROM trials").iat[0, 0] == 0


def test_a_run_that_lost_its_tree_and_its_end(finished: Run, tmp_path: Path, trex: Trex) -> None:
    run = copy_of(finished, tmp_path / "run")
    remove("finish.json", "checkpoints.sqlite")(run)
    trex("report", run).complains(2, "has lost its tree")
    assert "has lost its tree" in trex("show", run).out


def test_a_tree_that_is_none(finished: Run, tmp_path: Path, trex: Trex) -> None:
    run = copy_of(finished, tmp_path / "run")
    in_tree("parent_id", to=None)(run)
    trex("show", run).complains(2, "checkpoints.sqlite is damaged (a tree has one root", "cannot be opened")


def test_resume_of_an_edited_run_says_so(finished: Run, tmp_path: Path, trex: Trex) -> None:
    run = copy_of(finished, tmp_path / "run")
    set_in("finish.json", "test", "score", "value")(run)
    said = trex("resume", run)
    assert said.code == 0 and "is already" in said.out
    assert "the test score is not in the grader's records: withheld" in said.out and "0.988" not in said.out


def test_the_clock_of_a_finished_run_does_not_count(finished: Run, tmp_path: Path) -> None:
    run = copy_of(finished, tmp_path / "run")
    set_in("clock.json", "active_seconds", to=98765.0)(run)
    assert load_run(run).summary.spend == finished.summary.spend


def test_another_confinement_is_not_shown(finished: Run, tmp_path: Path) -> None:
    run = copy_of(finished, tmp_path / "run")
    for path in run.glob("trials/*/rungs/*/result.json"):
        set_in(str(path.relative_to(run)), "confinement", to="Landlock ABI 98765")(run)
    summary = load_run(run).summary
    assert summary.confinement == "not confined"
    assert [fault for fault in summary.faults if "another confinement" in fault]


def test_a_withheld_experiment_is_not_forked(finished: Run, tmp_path: Path, trex: Trex) -> None:
    run = copy_of(finished, tmp_path / "run")
    every_trial_score(run)
    trex("fork", run, "e001", "--out", tmp_path / "fork").complains(2, "e001")
    assert not (tmp_path / "fork").exists()
