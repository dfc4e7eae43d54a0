"""The GTA task: samples in the published schema, prompts that show no more than the history, whole queries apart."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from trex.evaluation.metrics import measure, metric
from trex.evaluation.statistics.intervals import score_measured
from trex.files import read_jsonl
from trex.ftbench.benchmark import Record
from trex.ftbench.tasks import gta
from trex.ftbench.tasks.gta import ANSWER_NOW, BENCHMARK, SYSTEM

SAMPLES = BENCHMARK.samples()


def item(query: str, step: int) -> dict[str, Any]:
    return next(
        BENCHMARK.item(record)
        for record in SAMPLES
        if (record.row["query"], record.row["step"]) == (query, step)
    )


def test_samples_are_enough_and_keep_queries_together() -> None:
    parts: dict[str, set[str]] = {}
    for record in SAMPLES:
        parts.setdefault(record.row["query"], set()).add(record.part)
    assert len(parts) >= 12
    assert len(SAMPLES) >= 30
    assert all(len(found) == 1 for found in parts.values())
    assert {part for found in parts.values() for part in found} == {"train", "dev", "test"}
    assert Counter((r.row["query"], r.row["step"]) for r in SAMPLES).most_common(1)[0][1] == 1


def test_samples_have_the_published_schema() -> None:
    for record in SAMPLES:
        row = record.row
        assert set(row) == {"tools", "files", "dialogs", "gt_answer", "query", "step"}
        assert row["dialogs"][0]["role"] == "user"
        known = {tool["name"]: {given["name"] for given in tool["inputs"]} for tool in row["tools"]}
        for said in row["dialogs"]:
            if said.get("tool_calls"):
                call = said["tool_calls"][0]["function"]
                assert set(call["arguments"]) <= known[call["name"]]


def test_gold_scores_all_and_shuffled_gold_does_not() -> None:
    items = [BENCHMARK.item(record) for record in SAMPLES]
    gold = [str(row["gold"]) for row in items]
    for name in ("gta", "gta:InstAcc", "gta:ToolAcc", "gta:ArgAcc", "gta:SummAcc"):
        scorer = metric(name)
        assert score_measured(scorer, measure(scorer, items, gold)).value == 1
        assert score_measured(scorer, measure(scorer, items, [*gold[1:], gold[0]])).value < 0.9
    assert set(metric("gta").score_items(items, gold)) == {1.0}
    assert set(metric("gta").score_items(items, ["I cannot say."] * len(items))) == {0.0}


def test_official_form_agrees_on_gold_but_for_symbols() -> None:
    items = [BENCHMARK.item(record) for record in SAMPLES if not isinstance(record.row["gt_answer"], list)]
    gold = [str(row["gold"]) for row in items]
    for name in ("gta:ToolAcc/upstream", "gta:ArgAcc/upstream", "gta:InstAcc/upstream"):
        scorer = metric(name)
        assert score_measured(scorer, measure(scorer, items, gold)).value == 1
    missed = [
        row["query"]
        for row, value in zip(items, metric("gta/upstream").score_items(items, gold), strict=True)
        if not value
    ]
    assert missed == ["12"], "the query whose answer is 50%"


def test_a_prompt_shows_the_history_and_nothing_after_it() -> None:
    first, last = item("0", 0), item("0", 2)
    assert first["prompt"] == (
        "Tools:\n"
        "- OCR(image: image) Reads all text in a picture and says where it stands.\n"
        "- Calculator(expression: text) Works out a Python expression.\n\n"
        "Files: image/menu_board.jpg\n\n"
        "User: My sister and I want two lentil soups and one rhubarb cake from this board. What do we pay?"
    )
    assert first["gold"] == (
        'Thought: The prices stand on the board.\nAction: OCR\nAction Input: {"image": "image/menu_board.jpg"}'
    )
    assert last["prompt"].startswith(first["prompt"])
    assert last["prompt"].endswith(f"Response: 17.2\n\n{ANSWER_NOW}")
    assert last["gold"] == "Final Answer: You pay 17.2 for two soups and a cake."
    assert last["gold"] not in last["prompt"]
    assert all(row["gold"].splitlines()[-1] not in row["prompt"] for row in map(BENCHMARK.item, SAMPLES))


def test_tools_say_what_their_arguments_mean() -> None:
    line = next(line for line in item("1", 0)["prompt"].split("\n") if "CountGivenObject" in line)
    assert line == (
        "- CountGivenObject(image: image, text: text, bbox: text (optional)) Counts things of one kind in a picture. "
        "text: what to count; bbox: corners as (x1, y1, x2, y2)"
    )
    assert gta.tool_line({"name": "OCR"}) == "- OCR()"
    for marker in ("Thought:", "Action:", "Action Input:", "Final Answer:"):
        assert marker in SYSTEM


def test_gold_of_texts_is_the_first_and_aliases_stand_in() -> None:
    said = {"role": "assistant", "content": "A dozen."}
    assert gta.gold_reply(said, ["Twelve eggs.", "12"]) == "Final Answer: Twelve eggs."
    whitelist = {"whitelist": [["12", "twelve"], ["eggs"]], "blacklist": None}
    assert gta.gold_reply(said, whitelist) == "Final Answer: 12, eggs"
    assert gta.gold_reply({**said, "content": "12 eggs"}, whitelist) == "Final Answer: 12 eggs"
    assert gta.gold_reply(said, None) == "Final Answer: A dozen."


def test_the_smoke_task_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TREX_HOME", str(tmp_path))
    task = gta.load(smoke=True)
    assert (task.name, task.metric, task.answer_column) == ("gta", "gta", "gold")
    dev, test, train = (list(read_jsonl(Path(path))) for path in (task.dev, task.test, task.sources[0].path))
    assert not {row["query"] for row in dev} & {row["query"] for row in test}
    assert len(train) >= 10
    assert set(train[0]) == {"query", "step", "prompt", "gold"}


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Forty queries as published: tools by name, described in toolmeta.json, the last ten without a gold answer."""
    folder = tmp_path / "Jize1" / "GTA"
    folder.mkdir(parents=True)
    sample = SAMPLES[0].row
    queries = {
        str(index): {
            "tools": [{"name": tool["name"]} for tool in sample["tools"]],
            "files": sample["files"],
            "dialogs": [{"role": "user", "content": f"Question {index}?"}, *sample["dialogs"][1:]],
            "gt_answer": sample["gt_answer"] if index < 30 else None,
        }
        for index in range(40)
    }
    (folder / "dataset.json").write_text(json.dumps(queries), encoding="utf-8")
    meta = {tool["name"]: tool for tool in sample["tools"]}
    (folder / "toolmeta.json").write_text(json.dumps(meta), encoding="utf-8")
    monkeypatch.setenv("TREX_DATA", str(tmp_path))
    return folder


def test_published_queries_become_steps(mirror: Path) -> None:
    records = list(gta.read())
    assert len(records) == 30 * 3 + 10 * 2
    assert {record.part for record in records} == {"cut"}
    assert [record.row["step"] for record in records[:4]] == [0, 1, 2, 0]
    assert records[0].row["tools"][0]["inputs"][0]["name"] == "image"
    assert all(record.row["step"] < 2 for record in records if record.row["gt_answer"] is None)


def test_a_query_stands_in_one_part_and_none_is_for_training(mirror: Path) -> None:
    records: list[Record] = list(gta.read())
    parts: dict[str, set[str]] = {}
    for record in records:
        parts.setdefault(BENCHMARK._part(record), set()).add(record.row["query"])
    assert set(parts) == {"dev", "test"}
    assert not parts["dev"] & parts["test"]
    assert len(parts["dev"]) + len(parts["test"]) == 40
