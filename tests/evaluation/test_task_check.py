"""`trex check`: what it counts, and what of test it does not show."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.cli import caller
from support.own_task import tickets, write_task
from trex.evaluation.task_check import inspect_task
from trex.evaluation.task_file import read_task_file
from trex.files import write_jsonl


@pytest.fixture
def task_path(tmp_path: Path) -> Path:
    path = write_task(tmp_path, base_model="tiny", choices=["billing", "network", "accounts"])
    train = [
        *tickets(90),
        {"text": "a", "team": "biling"},
        {"text": "b", "team": None},
        {"text": " ", "team": "network"},
    ]
    train += [{"text": "c", "team": " Billing"}, {"text": "word " * 600, "team": "network"}, train[0]]
    write_jsonl(tmp_path / "train.jsonl", train)
    write_jsonl(tmp_path / "test.jsonl", [*tickets(30), {"text": "secret words", "team": "secret team"}])
    return path


def test_every_row_is_counted_by_what_becomes_of_it(task_path: Path) -> None:
    report = inspect_task(read_task_file(task_path))
    train, dev, test = report.files
    assert (train.name, train.read, train.kept, train.repeated) == ("train", 96, 93, 1)
    reasons = {entry.reason: (entry.rows, entry.examples) for entry in train.dropped}
    assert reasons == {
        "answer not among the choices": (1, ["train.jsonl:91: 'biling': did you mean 'billing'?"]),
        "no answer": (1, ["train.jsonl:92: team empty"]),
        "no question": (1, ["train.jsonl:93: text empty"]),
    }
    assert train.answers == {"billing": 32, "network": 31, "accounts": 30}
    assert train.cut_prompts == 1 and train.prompt_tokens["max"] > 512 > train.prompt_tokens["p95"]
    assert not report.refusals and dev.kept == dev.read
    assert 0 < report.smallest_gain["dev"] < report.smallest_gain["confirm"]
    assert (test.read, test.kept) == (31, 30)


def test_no_row_of_test_is_shown(task_path: Path) -> None:
    text = inspect_task(read_task_file(task_path)).model_dump_json()
    assert "secret" not in text and "test.jsonl:31" in text


def test_what_splits_share_and_what_resembles(tmp_path: Path) -> None:
    path = write_task(tmp_path, base_model="tiny", choices=None)
    dev = tickets(40)
    write_jsonl(tmp_path / "dev.jsonl", dev)
    shouted = [{"text": row["text"].upper(), "team": row["team"]} for row in dev[:5]]
    rows = [{"text": f"row {n}", "team": "billing"} for n in range(100)]
    write_jsonl(tmp_path / "train.jsonl", [*rows, *shouted, {"text": "typo", "team": "biling"}])
    report = inspect_task(read_task_file(path))
    assert report.shared["train and dev"] == 5
    assert "'biling' 1 row: did you mean 'billing'?" in report.variants


def test_a_file_with_too_many_faults_is_refused_in_one_line(task_path: Path, tmp_path: Path) -> None:
    write_jsonl(
        tmp_path / "train.jsonl", [{"text": f"{n}", "team": None if n % 3 else "network"} for n in range(30)]
    )
    report = inspect_task(read_task_file(task_path))
    assert report.refusals
    refused = report.files[0].refused
    assert refused is not None and "20 of 30 rows cannot be used: 20 no answer (e.g. train.jsonl:2" in refused


def test_the_command_prints_tables_or_json(
    task_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    trex = caller(monkeypatch, capfd)
    printed = trex("check", task_path)
    assert printed.code == 0 and "did you mean" in printed.out and "the task can run" in printed.out
    report = json.loads(trex("check", task_path, "--json").out)
    assert report["files"][0]["kept"] == 93
    write_jsonl(tmp_path / "train.jsonl", [{"text": "\x1b[31mred", "team": "nobody"}])
    refused = trex("check", task_path)
    assert refused.code == 2 and "\x1b[31mred" not in refused.out
