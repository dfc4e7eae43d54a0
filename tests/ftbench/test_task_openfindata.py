"""OpenFinData: the samples validate themselves; the published rows are cut and never trained on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from trex.errors import InputError
from trex.evaluation.metrics.openfindata import ENTITIES, LETTERS, SUBTASKS
from trex.files import read_jsonl
from trex.ftbench.tasks import openfindata
from trex.ftbench.tasks.openfindata import BENCHMARK
from trex.ftbench.validation import problems


def published(subtask: str, number: int) -> dict[str, Any]:
    question = f"{subtask}之第{number}问：应当如何作答？"
    options = {letter: f"选项{letter}" for letter in LETTERS.get(subtask, "")}
    return {"id": str(number), "question": question, **options, "answer": "A" if options else "甲、乙"}


def publish(root: Path) -> None:
    folder = root / "open-compass" / "OpenFinData" / "openfindata_release"
    folder.mkdir(parents=True)
    for subtask in SUBTASKS:
        rows = [published(subtask, number) for number in range(10)]
        (folder / f"{subtask}.json").write_text(json.dumps([*rows, rows[0]]), encoding="utf-8")


def test_smoke_task_validates_itself(fresh_home: Path) -> None:
    task = openfindata.load(smoke=True)
    assert problems(task) == []
    assert (len(list(read_jsonl(task.dev))), len(list(read_jsonl(task.test)))) == (8, 8)
    assert len(list(read_jsonl(Path(task.sources[0].path)))) == 10


def test_samples_look_like_the_published_rows() -> None:
    rows = [record.row for record in BENCHMARK.samples()]
    assert len(rows) >= 20
    assert {row["subtask"] for row in rows} == set(SUBTASKS)
    for row in rows:
        assert tuple(row) == ("subtask", "id", "question", *LETTERS.get(row["subtask"], ""), "answer")


def test_published_rows_are_cut_by_question_and_none_is_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_home: Path
) -> None:
    publish(tmp_path)
    monkeypatch.setenv("TREX_DATA", str(tmp_path))
    task = openfindata.load()
    dev, test = list(read_jsonl(task.dev)), list(read_jsonl(task.test))
    assert len(dev) + len(test) == 10 * len(SUBTASKS), "a row that stands twice is one item"
    assert not {row["question"] for row in dev} & {row["question"] for row in test}
    assert {row["subtask"] for row in dev} | {row["subtask"] for row in test} == set(SUBTASKS)
    assert 0.25 < len(dev) / (len(dev) + len(test)) < 0.55
    assert [source.path for source in task.sources if not source.path.startswith("hub:")] == []
    assert {record.part for record in BENCHMARK.read()} == {"cut"}


def test_a_train_row_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(tmp_path)
    monkeypatch.setenv("TREX_DATA", str(tmp_path))
    assert not BENCHMARK.licence.trainable
    assert BENCHMARK.parts(BENCHMARK.read())["train"] == []
    records = list(BENCHMARK.read())
    with pytest.raises(InputError, match="forbids training"):
        BENCHMARK.parts([*records, replace(records[0], part="train")])


def test_without_the_archive_the_error_says_what_to_unpack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(self: object, path: str) -> Path:
        raise InputError(f"{path} can't be fetched")

    monkeypatch.setattr(type(openfindata.HOME), "file", missing)
    with pytest.raises(InputError, match=r"unpack https://\S+openfindata_release\.zip in the folder"):
        list(BENCHMARK.read())


def test_prompt_and_gold() -> None:
    turn = BENCHMARK.turn({**published("financial_facts", 3), "subtask": "financial_facts"})
    assert "如何作答？\nA. 选项A\nB. 选项B\nC. 选项C\n请直接回答" in turn.prompt
    assert turn.gold == "A"
    turn = BENCHMARK.turn({**published(ENTITIES, 3), "subtask": ENTITIES})
    assert "如何作答？\n请直接列出" in turn.prompt
    assert turn.gold == "甲、乙"
