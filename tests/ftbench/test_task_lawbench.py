"""The LawBench task: its samples, and how published rows become items."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from trex.errors import InputError
from trex.evaluation.metrics import measure, metric
from trex.evaluation.metrics.lawbench import SUBTASKS
from trex.evaluation.metrics.lawbench.lexicon import COMMIT, REPOSITORY
from trex.evaluation.statistics.intervals import score_measured
from trex.files import read_jsonl
from trex.ftbench.tasks import lawbench
from trex.ftbench.validation import problems

pytestmark = pytest.mark.filterwarnings("ignore:LawBench 2-1 in its official form")

SAMPLES = list(read_jsonl(lawbench.BENCHMARK.samples_file))
FACTS = "公诉机关指控：被告人 {n} 某撬锁进入商店，\r\n拿走手表{n}块。"


def test_the_samples_make_a_task_that_validates_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TREX_HOME", str(tmp_path))
    task = lawbench.load(smoke=True)
    assert problems(task) == []
    for path in (task.dev, task.test):
        assert Counter(row["subtask"] for row in read_jsonl(path)) == dict.fromkeys(SUBTASKS, 1)


def test_the_samples_are_in_the_published_schema() -> None:
    assert Counter(line["row"]["subtask"] for line in SAMPLES) == dict.fromkeys(SUBTASKS, 3)
    assert Counter(line["part"] for line in SAMPLES) == {"train": 20, "dev": 20, "test": 20}
    for line in SAMPLES:
        assert set(line["row"]) == {"subtask", *lawbench.COLUMNS}
        assert line["origin"] == "sample"


@pytest.mark.parametrize("subtask", SUBTASKS)
def test_gold_scores_one_and_other_rows_gold_does_not(subtask: str) -> None:
    rows = [line["row"] for line in SAMPLES if line["row"]["subtask"] == subtask]
    gold = [lawbench.turn(row).gold for row in rows]
    scorer = metric(f"lawbench:{subtask}")
    right = measure(scorer, rows, gold)
    assert right.values == [1.0] * len(rows)
    assert score_measured(scorer, right).value == 1.0
    shifted = measure(scorer, rows, [*gold[1:], gold[0]])
    assert score_measured(scorer, shifted).value < (0.9 if subtask in ("3-4", "3-5") else 0.5)


def test_the_prompt_is_instruction_and_question_as_opencompass_joins_them() -> None:
    row = {
        "subtask": "3-7",
        "instruction": "算。",
        "question": "文书:一",
        "answer": "上文涉及到的犯罪金额:1.0元。",
    }
    assert lawbench.turn(row).prompt == "算。\n文书:一"
    assert lawbench.turn(row).gold == row["answer"]


def case_row(subtask: str, n: int) -> dict[str, Any]:
    """A row about case n, in the published columns."""
    facts = "事实:" + FACTS.format(n=n)
    asked = {
        "3-1": (f"{facts}\r\n罪名:盗窃。", "法条:刑法第264条"),
        "3-3": (f"{facts}\r\n", "罪名:盗窃"),
        "3-4": (f"{facts}罪名:盗窃。法条:刑法第264条", "刑期:死刑" if n == 0 else f"刑期:{n}个月"),
        "3-5": (
            f"{facts}\n罪名:盗窃。法条:刑法第264条。法条内容：略",
            "刑期:无期" if n == 0 else f"刑期:{n}个月",
        ),
    }
    question, answer = asked[subtask]
    return {"instruction": f"{subtask}：", "question": question, "answer": answer}


def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A mirror in which the four sub-tasks of cases ask about twelve cases, and the others about one text each."""
    folder = tmp_path / "mirror" / REPOSITORY / "data" / "zero_shot"
    folder.mkdir(parents=True)
    for subtask in SUBTASKS:
        rows = [{"instruction": "问：", "question": f"{subtask}的问题", "answer": "略", "extra": 1}]
        if subtask in lawbench.CASES:
            rows = [case_row(subtask, n) for n in range(12)]
        if subtask in ("2-9", "2-10"):
            rows[0]["question"] = f"同一句话{' ' if subtask == '2-9' else '。'}"
        (folder / f"{subtask}.json").write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    monkeypatch.setenv("TREX_DATA", str(tmp_path / "mirror"))
    monkeypatch.setenv("TREX_HOME", str(tmp_path / "home"))
    tables = tmp_path / "home" / "data" / REPOSITORY / COMMIT / "evaluation" / "utils" / "data"
    tables.mkdir(parents=True)
    for name in ("cilin.txt", "confusion_dict.txt"):
        (tables / name).touch()
    return folder


def test_all_rows_about_one_case_stand_on_one_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mirror(tmp_path, monkeypatch)
    records = list(lawbench.read())
    assert {record.part for record in records} == {"cut"}
    by_group: dict[str, set[str]] = {}
    for record in records:
        by_group.setdefault(record.group, set()).add(record.row["subtask"])
    cases = [found for found in by_group.values() if found & set(lawbench.CASES)]
    assert sorted(map(len, cases)) == [2, *[4] * 11]  # of case 0, death and life are left out
    assert by_group["同一句话"] == {"2-9", "2-10"}
    assert all(set(record.row) == {"subtask", *lawbench.COLUMNS} for record in records)
    assert lawbench.BENCHMARK.licence.trainable is False


def test_a_file_that_is_not_as_published_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = mirror(tmp_path, monkeypatch)
    (folder / "2-4.json").write_text('[{"instruction": "问", "question": "答"}]', encoding="utf-8")
    with pytest.raises(
        InputError, match=r"data/zero_shot/2-4\.json .* is not as published: KeyError\('answer'\)"
    ):
        list(lawbench.read())


@pytest.mark.parametrize(
    ("subtask", "question", "expected"),
    [
        ("3-1", "事实:甲某 盗窃。\r\n罪名:盗窃。", "甲某盗窃"),
        ("3-3", "事实:甲某盗窃。\r\n", "甲某盗窃"),
        ("3-5", "事实:甲某盗窃。罪名:盗窃。法条:刑法第264条。法条内容：略", "甲某盗窃"),
        ("2-9", "甲某盗窃", "甲某盗窃"),
        ("2-2", "句子:罪名:甲", "罪名甲"),  # only in cases does it end the facts
    ],
)
def test_a_row_is_about_its_facts(subtask: str, question: str, expected: str) -> None:
    assert lawbench.about({"subtask": subtask, "question": question}) == expected
