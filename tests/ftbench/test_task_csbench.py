"""CS-Bench: the samples validate themselves; published splits stay apart, and nothing is there to train on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from trex.errors import InputError
from trex.files import read_jsonl
from trex.ftbench.tasks import csbench
from trex.ftbench.tasks.csbench import BENCHMARK
from trex.ftbench.validation import problems

COLUMNS = ("ID", "Split", "Domain", "SubDomain", "Format", "Tag", "Language", "Question")


def choice(number: int, question: str) -> dict[str, Any]:
    options = dict(zip("ABCD", ("one", "two", "three", "four"), strict=True))
    return {"ID": number, "Format": "Multiple-choice", "Question": question, **options, "Answer": "C"}


def publish(root: Path, valid: list[dict[str, Any]], test: list[dict[str, Any]]) -> None:
    folder = root / "csbench" / "csbench" / "Dataset" / "CSBench-EN"
    folder.mkdir(parents=True)
    (folder / "valid.json").write_text(json.dumps(valid), encoding="utf-8")
    (folder / "test.json").write_text(json.dumps(test), encoding="utf-8")


def test_smoke_task_validates_itself(fresh_home: Path) -> None:
    task = csbench.load(smoke=True)
    assert problems(task) == []
    assert (len(list(read_jsonl(task.dev))), len(list(read_jsonl(task.test)))) == (10, 7)
    assert len(list(read_jsonl(Path(task.sources[0].path)))) == 12


def test_samples_look_like_the_published_rows() -> None:
    rows = [record.row for record in BENCHMARK.samples()]
    assert len(rows) >= 20
    for row in rows:
        options = ("A", "B", "C", "D") if row["Format"] == "Multiple-choice" else ()
        assert tuple(row) == (*COLUMNS, *options, "Answer")
    assert {row["Format"] for row in rows} == set(csbench.FORMATS)
    assert {row["Answer"] for row in rows if row["Format"] == "Multiple-choice"} == set("ABCD")


# So many that what all prompts share is known for wording.
OTHERS = (
    "Who invented relational algebra?",
    "What does a semaphore count?",
    "When does quicksort degrade?",
    "Where are page tables kept?",
    "Why do caches have sets?",
    "How long is an Ethernet address?",
    "Which tree rotates twice?",
    "What is a dangling reference?",
)


def test_published_rows_are_dev_and_test_and_never_train(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_home: Path
) -> None:
    essay = {"ID": 5, "Format": "Open-ended", "Question": "Discuss the merits of paging.", "Answer": "Many."}
    publish(
        tmp_path,
        valid=[choice(1, "Which layer routes packets?"), choice(2, " which LAYER frames  bits? "), essay],
        test=[
            choice(3, "Which layer frames bits?"),
            {**essay, "ID": 6},
            *(choice(10 + number, question) for number, question in enumerate(OTHERS)),
        ],
    )
    monkeypatch.setenv("TREX_DATA", str(tmp_path))
    task = csbench.load()
    assert [row["ID"] for row in read_jsonl(task.dev)] == [1]  # the test row keeps the shared question
    assert sorted(row["ID"] for row in read_jsonl(task.test)) == [3, *range(10, 18)]
    assert all(source.path.startswith("hub:") for source in task.sources)
    assert not BENCHMARK.licence.commercial
    assert {record.part for record in BENCHMARK.read()} == {"dev", "test"}


def test_a_file_of_another_form_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(tmp_path, valid=[{"Question": "?"}], test=[])
    monkeypatch.setenv("TREX_DATA", str(tmp_path))
    with pytest.raises(InputError, match=r"valid\.json of csbench/csbench is not as published: KeyError"):
        list(BENCHMARK.read())


@pytest.mark.parametrize(
    ("row", "prompt", "gold"),
    [
        (choice(1, "Which? "), "Which?\nA. one\nB. two\nC. three\nD. four\n\nAnswer with the letter", "C"),
        (
            {"Format": "Assertion", "Question": "So.", "Answer": False},
            "So.\n\nIs this statement true",
            "False",
        ),
        (
            {"Format": "Fill-in-the-blank", "Question": "( )", "Answer": "n-1 "},
            "( )\n\nAnswer with what",
            "n-1",
        ),
    ],
)
def test_prompt_and_gold(row: dict[str, Any], prompt: str, gold: str) -> None:
    turn = BENCHMARK.turn(row)
    assert turn.prompt.startswith(prompt)
    assert turn.gold == gold
