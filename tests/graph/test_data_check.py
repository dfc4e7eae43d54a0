"""The check that begins a run: what it refuses before anything is written, and what the report says of the data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.cli import Trex, caller
from support.own_task import tickets, write_task
from trex.files import read_json, write_jsonl

TEAMS = ["billing", "network", "accounts"]


@pytest.fixture
def trex(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], fresh_home: Path) -> Trex:
    return caller(monkeypatch, capfd)


def _half_without_teams(folder: Path) -> None:
    write_jsonl(
        folder / "train.jsonl",
        [row | {"team": row["team"] if i % 2 else None} for i, row in enumerate(tickets(90))],
    )


def _one_dev_item(folder: Path) -> None:
    write_jsonl(folder / "dev.jsonl", tickets(1))


def _dev_in_test(folder: Path) -> None:
    write_jsonl(folder / "test.jsonl", [*tickets(30, first=500), *tickets(3, first=1000)])


def _nothing(folder: Path) -> None:
    pass


@pytest.mark.real_check
@pytest.mark.parametrize(
    ("damage", "fields", "complaint"),
    [
        (_half_without_teams, {}, "45 of 90 rows cannot be used: 45 no answer"),
        (_one_dev_item, {}, "dev has one item"),
        (_dev_in_test, {}, "3 test items of task 'tickets' are also in dev"),
        (_nothing, {"base_model": "no-such-model"}, "no-such-model"),
        (_nothing, {"base_model": "./nowhere"}, "nowhere"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_written(
    trex: Trex, tmp_path: Path, damage: Any, fields: dict[str, Any], complaint: str
) -> None:
    task = write_task(tmp_path, choices=TEAMS, **{"base_model": "tiny"} | fields)
    damage(tmp_path)
    out = tmp_path / "run"
    trex("run", task, "--rounds", "1", "--out", out).complains(2, complaint)
    assert not out.exists()


@pytest.mark.real_check
def test_what_is_left_out_is_printed_and_stands_in_the_report(trex: Trex, tmp_path: Path) -> None:
    task = write_task(tmp_path, choices=TEAMS, base_model="tiny")
    rows = [*tickets(90), {"text": "lost words", "team": "biling"}, {"text": "no team", "team": None}]
    write_jsonl(tmp_path / "train.jsonl", rows)
    write_jsonl(
        tmp_path / "test.jsonl",
        [*tickets(30, first=500), {"text": "a secret ticket", "team": "a secret team"}],
    )
    said = trex("run", task, "--smoke", "--rounds", "0", "--out", tmp_path / "run")
    assert said.code == 0, said
    lost = "train: 1 of 92 rows left out, answer not among the choices"
    assert lost in said.out and "train.jsonl:91: 'biling': did you mean 'billing'?" in said.out
    report, page = ((tmp_path / "run" / f"report.{kind}").read_text() for kind in ("md", "html"))
    assert "## Data" in report and "| train | 92 | 90 | 0 |" in report
    assert lost in report and lost in page and "<h2>Data</h2>" in page
    assert read_json(tmp_path / "run" / "check.json")["files"][0]["kept"] == 90
    assert "secret" not in said.out + report + page
