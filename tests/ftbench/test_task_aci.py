"""ACI-Bench: the samples validate themselves, and the published files are read as they are."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from trex.errors import InputError
from trex.evaluation.metrics.rouge import divisions
from trex.files import read_jsonl
from trex.ftbench.tasks import aci
from trex.ftbench.tasks.aci import BENCHMARK, COLUMNS, FILES
from trex.ftbench.validation import problems

NOTE = 'CHIEF COMPLAINT\n\nShe said "it hurts", twice.\n\nASSESSMENT AND PLAN\n\nRest, ice.'


def published(folder: Path, columns: tuple[str, ...] = COLUMNS) -> None:
    for number, name in enumerate(FILES):
        path = folder / "wyim" / "aci-bench" / "data" / "challenge_data" / f"{name}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(columns)
            for copy in range(2):
                talk = f"[doctor] visit {number} {copy} , hi\n[patient] hello"
                table.writerow(
                    [f"d{number}", f"D2N{number}{copy}", talk, f"{NOTE} {number}{copy}"][: len(columns)]
                )


def test_smoke_task_validates_itself(fresh_home: Path) -> None:
    task = aci.load(smoke=True)
    assert problems(task) == []
    assert (len(list(read_jsonl(task.dev))), len(list(read_jsonl(task.test)))) == (6, 4)
    assert len(list(read_jsonl(Path(task.sources[0].path)))) == 10


def test_samples_look_like_the_published_rows() -> None:
    rows = [record.row for record in BENCHMARK.samples()]
    assert len(rows) >= 20
    assert len({row["encounter_id"] for row in rows}) == len(rows)
    for row in rows:
        assert tuple(row) == COLUMNS
        assert all(line.startswith(("[doctor] ", "[patient] ")) for line in row["dialogue"].splitlines())
        assert {"subjective", "assessment_and_plan"} <= divisions(row["note"]).keys()


def test_the_five_files_become_three_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published(tmp_path)
    monkeypatch.setenv("TREX_DATA", str(tmp_path))
    records = list(aci.read())
    assert [record.part for record in records] == ["train"] * 2 + ["dev"] * 2 + ["test"] * 6
    assert records[3].row == {
        "dataset": "d1",
        "encounter_id": "D2N11",
        "dialogue": "[doctor] visit 1 1 , hi\n[patient] hello",
        "note": f"{NOTE} 11",
    }


def test_the_prompt_holds_the_dialogue_and_gold_is_the_note() -> None:
    turn = BENCHMARK.turn({"dialogue": "\n[doctor] hi {you}\n", "note": " CHIEF COMPLAINT\n\nCough.\n"})
    assert "Conversation:\n[doctor] hi {you}\n\nNote:" in turn.prompt
    assert turn.gold == "CHIEF COMPLAINT\n\nCough."


def test_another_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published(tmp_path, COLUMNS[:3])
    monkeypatch.setenv("TREX_DATA", str(tmp_path))
    with pytest.raises(InputError, match=r"train.csv has no column note"):
        list(aci.read())
