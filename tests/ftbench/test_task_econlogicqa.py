"""EconLogicQA: the samples validate themselves, and the published splits are read as they are."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from trex.files import read_jsonl
from trex.ftbench.tasks import econlogicqa
from trex.ftbench.tasks.econlogicqa import BENCHMARK, SPLITS
from trex.ftbench.validation import problems

COLUMNS = ("Question", "A", "B", "C", "D", "Answer")


def test_smoke_task_validates_itself(fresh_home: Path) -> None:
    task = econlogicqa.load(smoke=True)
    assert problems(task) == []
    assert (len(list(read_jsonl(task.dev))), len(list(read_jsonl(task.test)))) == (6, 4)
    assert len(list(read_jsonl(Path(task.sources[0].path)))) == 11


def test_samples_look_like_the_published_rows() -> None:
    rows = [record.row for record in BENCHMARK.samples()]
    assert len(rows) >= 20
    for row in rows:
        assert tuple(row) == COLUMNS
        assert sorted(row["Answer"].split(", ")) == list("ABCD")
        assert len({row[letter] for letter in "ABCD"}) == 4
    assert len({row["Answer"] for row in rows}) >= 5  # no order is right too often


def test_the_three_splits_become_three_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_home: Path
) -> None:
    folder = tmp_path / "yinzhu-quan" / "econ_logic_qa"
    folder.mkdir(parents=True)
    for split in SPLITS:
        with (folder / f"{split}.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(COLUMNS)
            table.writerow([f"{split}: arrange, please", "one", "two", "three", "four", "D, A, C, B"])
            table.writerow([f"{split}: no order", "one", "two", "three", "four", "A, A, B, C"])
    monkeypatch.setenv("TREX_DATA", str(tmp_path))
    records = list(econlogicqa.read())
    assert [(record.part, record.row["Question"]) for record in records] == [
        ("train", "train: arrange, please"),
        ("dev", "val: arrange, please"),
        ("test", "test: arrange, please"),
    ]


def test_prompt_and_gold() -> None:
    turn = BENCHMARK.turn(
        {"Question": "Arrange {these}.", "A": "a1 ", "B": "b1", "C": "c1", "D": "d1", "Answer": "d,a, C,B"}
    )
    assert turn.prompt.startswith("Arrange {these}.\n\nA. a1\nB. b1\nC. c1\nD. d1\n\n")
    assert turn.gold == "D, A, C, B"
