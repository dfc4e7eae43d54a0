"""The store of insights: similar tasks, origins, repetition, two runs at once, a damaged file."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest
from support.places import TESTS
from trex.evaluation.task import Prompt, Source, Task
from trex.graph.memory.insight_store import InsightStore
from trex.graph.memory.insights import Insight

REVIEWS = "Classify reviews of films as positive or negative"


def task(
    name: str = "films", requirement: str = REVIEWS, metric: str = "accuracy", chosen: bool = True
) -> Task:
    return Task(
        name=name,
        requirement=requirement,
        sources=[Source(name="train", path="train.jsonl")],
        dev=Path("dev.jsonl"),
        test=Path("test.jsonl"),
        prompt=Prompt(user="{text}", answer="{label}"),
        metric=metric,
        choices=["positive", "negative"] if chosen else None,
    )


def insight(text: str, status: str = "open", direction: str = "mix") -> Insight:
    return Insight.model_validate(
        {"text": text, "direction": direction, "expects": "gain", "status": status, "origin": "e003"}
    )


@pytest.fixture
def store(tmp_path: Path) -> InsightStore:
    return InsightStore(tmp_path / "home" / "insights.sqlite")


def test_confirmed_insights_of_other_runs_come_first_with_their_origin(
    store: InsightStore, tmp_path: Path
) -> None:
    found = [insight("open words"), insight("sure thing", "confirmed"), insight("wrong idea", "dropped")]
    assert store.keep(task(), tmp_path / "one", found, date(2026, 1, 2))
    offered = store.find(task("other"), tmp_path / "two")
    assert [(each.text, each.status) for each in offered] == [
        ("sure thing", "confirmed"),
        ("open words", "open"),
    ]
    assert {each.origin for each in offered} == {"run one on task films, 2026-01-02"}
    assert [each.text for each in store.find(task(), tmp_path / "two", most=1)] == ["sure thing"]
    assert store.find(task(), tmp_path / "one") == ()


def test_keeping_again_replaces_what_the_run_had_kept(store: InsightStore, tmp_path: Path) -> None:
    for text in ("at first", "at last"):
        store.keep(task(), tmp_path / "one", [insight(text)])
    assert [each.text for each in store.find(task(), tmp_path / "two")] == ["at last"]


@pytest.mark.parametrize(
    ("other", "similar"),
    [
        (task("b", "Translate law into plain words"), True),  # one metric and one form of answers
        (task("c", REVIEWS, "macro_f1", True), True),  # one form, the same words
        (task("d", REVIEWS, "macro_f1", False), False),
        (task("e", "Translate law into plain words", "macro_f1", True), False),
    ],
)
def test_only_similar_tasks_share_insights(
    store: InsightStore, tmp_path: Path, other: Task, similar: bool
) -> None:
    store.keep(task(), tmp_path / "one", [insight("words")])
    assert bool(store.find(other, tmp_path / "two")) == similar


def test_the_most_similar_task_comes_first_then_the_latest(store: InsightStore, tmp_path: Path) -> None:
    store.keep(task("far", "Sort mail by urgency"), tmp_path / "a", [insight("far off")], date(2026, 3, 1))
    store.keep(task(), tmp_path / "b", [insight("near early")], date(2026, 1, 1))
    store.keep(task(), tmp_path / "c", [insight("near late", direction="lora")], date(2026, 2, 1))
    texts = [each.text for each in store.find(task(), tmp_path / "new")]
    assert texts == ["near late", "near early", "far off"]


def test_runs_that_say_the_same_are_given_once(store: InsightStore, tmp_path: Path) -> None:
    store.keep(task(), tmp_path / "a", [insight("half of the rows suffice")], date(2026, 1, 1))
    store.keep(task(), tmp_path / "b", [insight("Half of the rows suffice.", "confirmed")], date(2026, 1, 2))
    [only] = store.find(task(), tmp_path / "new")
    assert (only.status, only.origin) == ("confirmed", "run b on task films, 2026-01-02")


def test_two_runs_of_one_name_are_two_runs(store: InsightStore, tmp_path: Path) -> None:
    store.keep(task(), tmp_path / "x" / "run", [insight("hers")])
    store.keep(task(), tmp_path / "y" / "run", [insight("his own", direction="lora")])
    assert {each.text for each in store.find(task(), tmp_path / "z" / "run")} == {"hers", "his own"}


_KEEP = """
import os, sys
from pathlib import Path
sys.path[:0] = sys.argv[1].split(os.pathsep)
from test_insight_store import InsightStore, insight, task
store, run = InsightStore(Path(sys.argv[2])), Path(sys.argv[3])
for _ in range(5):
    assert store.keep(task(), run, [insight(f"said by {run.name}", direction=run.name)])
"""


def test_runs_that_begin_the_file_together_lose_nothing(store: InsightStore, tmp_path: Path) -> None:
    tests = os.pathsep.join([str(Path(__file__).parent), str(TESTS)])
    running = [
        subprocess.Popen([sys.executable, "-c", _KEEP, tests, str(store.path), str(tmp_path / f"run{n}")])
        for n in range(3)
    ]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    texts = {each.text for each in store.find(task(), tmp_path / "new")}
    assert texts == {f"said by run{n}" for n in range(3)}


def test_a_damaged_file_is_warned_of_and_left_as_it_is(
    store: InsightStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store.path.parent.mkdir()
    store.path.write_bytes(b"no database at all, but long enough to be looked at" * 40)
    before = store.path.read_bytes()
    assert store.find(task(), tmp_path / "one") == ()
    assert store.keep(task(), tmp_path / "one", [insight("lost")]) is False
    assert store.path.read_bytes() == before
    first, second = (record.getMessage() for record in caplog.records)
    assert "insights of earlier runs are not used" in first
    assert "are not kept" in second
    assert str(store.path) in first
    assert "\n" not in first + second


def test_a_place_that_cannot_be_written_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    store = InsightStore(tmp_path / "file" / "insights.sqlite")
    assert store.find(task(), tmp_path / "one") == ()
    assert store.keep(task(), tmp_path / "one", [insight("lost")]) is False
    assert "are not kept" in caplog.text


def test_a_foreign_entry_is_left_aside(
    store: InsightStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store.keep(task(), tmp_path / "one", [insight("kept")])
    store.keep(task(), tmp_path / "two", [insight("spoilt")])
    with sqlite3.connect(store.path) as connection:
        connection.execute(
            "UPDATE store SET value = json_set(value, '$.schema_version', 99) "
            "WHERE json_extract(value, '$.run') LIKE '%two'"
        )
    assert [each.text for each in store.find(task(), tmp_path / "new")] == ["kept"]
    assert "not of this version" in caplog.text


def test_what_is_kept_is_json_text(store: InsightStore, tmp_path: Path) -> None:
    store.keep(task(), tmp_path / "one", [insight("学习率 😀")])
    with sqlite3.connect(store.path) as connection:
        [(value,)] = connection.execute("SELECT value FROM store").fetchall()
    assert isinstance(value, str | bytes)
    assert "pickle" not in str(value)
    [found] = store.find(task(), tmp_path / "new")
    assert found.text == "学习率 😀"


def test_the_file_lies_in_the_home_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TREX_HOME", str(tmp_path / "there"))
    assert InsightStore().path == tmp_path / "there" / "insights.sqlite"
    assert InsightStore().find(task(), tmp_path / "run") == ()
    assert not (tmp_path / "there").exists()


def test_smoke_runs_learn_from_smoke_runs_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TREX_HOME", str(tmp_path))
    smoke = InsightStore(smoke=True)
    smoke.keep(task(), tmp_path / "small", [insight("a rate of 1e-2 pays")])
    assert InsightStore().find(task(), tmp_path / "run") == ()
    assert len(smoke.find(task(), tmp_path / "run")) == 1
