"""`trex init`: the file it writes can be run, it asks only on a terminal, and it writes nothing that is wrong."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from support.cli import Trex, caller
from support.places import REPOSITORY
from trex.files import write_jsonl

ROWS = [
    {
        "text": f"my {('invoice', 'router', 'password')[i % 3]} number {i} is wrong",
        "team": ("a1", "b2", "c3")[i % 3],
    }
    for i in range(120)
]


@pytest.fixture
def trex(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Trex:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    write_jsonl(tmp_path / "rows.jsonl", ROWS)
    return caller(monkeypatch, capfd)


def test_from_a_file_to_a_task_that_passes_its_check(trex: Trex, tmp_path: Path) -> None:
    said = trex("init", "rows.jsonl", "--base-model", "tiny")
    assert said.code == 0, said
    for shown in (
        "team is the answer, by its name",
        "row 10:",
        "smallest gain",
        "trex run task.yaml --budget 15m",
    ):
        assert shown in said.out
    fields = yaml.safe_load((tmp_path / "task.yaml").read_text())
    assert (fields["data"], fields["choices"], fields["base_model"]) == (
        "rows.jsonl",
        ["a1", "b2", "c3"],
        "tiny",
    )
    checked = trex("check", "task.yaml")
    assert checked.code == 0
    assert "the task can run" in checked.out


def test_on_a_terminal_it_asks_and_takes_the_answers(
    trex: Trex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = io.StringIO("\n\nSend each ticket to a team.\ntiny\n")
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdin", terminal)
    said = trex("init", "rows.jsonl", "--out", "tickets.yml")
    assert said.code == 0, said
    assert "Column of the answer [team]" in said.out
    fields = yaml.safe_load((tmp_path / "tickets.yml").read_text())
    assert fields["requirement"] == "Send each ticket to a team."
    assert (fields["base_model"], fields["answer_column"]) == ("tiny", "team")


@pytest.mark.parametrize(
    "words, complaint",
    [
        (["init", "nowhere.csv"], "no such file"),
        (["init", "rows.jsonl", "--answer", "teem"], "there is no column 'teem'"),
        (["init", "rows.jsonl", "--out", "task.txt"], "ends in .yaml"),
        (["init", "rows.jsonl", "--base-model", "no-such-model"], "no-such-model"),
        (["init", "rows.jsonl", "--metric", "acuracy", "--base-model", "tiny"], "acuracy"),
        (["init", "rows.jsonl", "--question", "team"], "team"),
    ],
)
def test_wrong_input_is_one_line_and_no_file(
    trex: Trex, tmp_path: Path, words: list[str], complaint: str
) -> None:
    trex(*words).complains(2, complaint)
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


def test_a_messy_file(trex: Trex, tmp_path: Path) -> None:
    """The file of docs/own_task.md: its columns, its classes without typos, its losses."""
    subprocess.run(
        [sys.executable, REPOSITORY / "benchmarks" / "messy_tickets.py", "tickets.csv"], check=True
    )
    said = trex("init", "tickets.csv", "--base-model", "tiny")
    assert said.code == 0, said
    fields = yaml.safe_load((tmp_path / "task.yaml").read_text())
    assert (fields["answer_column"], fields["group_by"], fields["metric"]) == (
        "team",
        "customer_id",
        "macro_f1",
    )
    assert fields["choices"] == ["accounts", "billing", "devices", "legal", "network", "sales"]
    assert "{message}" in fields["prompt"]["user"] and "{id}" not in fields["prompt"]["user"]
    for found in (
        "'netwrok' for 'network'",
        "'N/A'",
        "did you mean '",
        "team empty",
        "the task can run",
    ):
        assert found in said.out


def test_a_file_that_is_there_is_kept(trex: Trex, tmp_path: Path) -> None:
    (tmp_path / "task.yaml").write_text("mine")
    trex("init", "rows.jsonl").complains(2, "task.yaml is there already", "--force")
    assert (tmp_path / "task.yaml").read_text() == "mine"
