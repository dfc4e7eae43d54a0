"""Tasks over whole conversations: what is read, what costs a row, and what is asked, taught and compared."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from support.own_task import fields, write_parquet, write_task
from trex.evaluation.conversations import BadConversation, read_conversation
from trex.evaluation.decontamination.gate import ContaminationGate
from trex.evaluation.splits import load_items
from trex.evaluation.task import Prompt, Task
from trex.evaluation.task_check import inspect_task
from trex.evaluation.task_file import read_task_file
from trex.files import read_jsonl, write_jsonl, write_yaml
from trex.training.data.build import build
from trex.training.data.recipe import DataRecipe, Stream

Turns = list[dict[str, Any]]
CALL = {"id": "c1", "type": "function", "function": {"name": "look_up", "arguments": '{"order": 7}'}}


def openai(*texts: str, system: str | None = None) -> Turns:
    turns = [{"role": "assistant" if n % 2 else "user", "content": text} for n, text in enumerate(texts)]
    return ([{"role": "system", "content": system}] if system is not None else []) + turns


def sharegpt(*texts: str) -> Turns:
    return [{"from": "gpt" if n % 2 else "human", "value": text} for n, text in enumerate(texts)]


def shown(turns: Turns) -> list[tuple[str, str]]:
    return [(turn["role"], turn["content"]) for turn in turns]


TWO = [("user", "hello"), ("assistant", "good day")]


@pytest.mark.parametrize(
    ("cells", "turns"),
    [
        ([openai("hello", "good day")], TWO),
        ([sharegpt("hello", "good day")], TWO),
        ([json.dumps(sharegpt("hello", "good day"))], TWO),
        ([{"conversations": sharegpt("hello", "good day")}], TWO),
        ([openai("hello", "good day", "and now?")], TWO),  # nothing answers the last turn
        ([openai("hello", "good day", system=" ")], TWO),
        ([openai("hello", "good day", system="Be brief.")], [("system", "Be brief."), *TWO]),
        ([[{"role": "Human", "content": [{"type": "text", "text": "hel"}, {"type": "text", "text": "lo"}]},
           {"role": "model", "content": "good day"}]], TWO),
        (["hello", "good day"], TWO),
        ([openai("hello"), [{"role": "assistant", "content": "good day"}]], TWO),
        ([[*openai("hello", "good day"), {"role": "tool", "content": ""}]], TWO),
    ],
)  # fmt: skip
def test_conversations_are_read_in_the_forms_that_files_have(cells: list[Any], turns: Any) -> None:
    assert shown(read_conversation(cells)) == turns


@pytest.mark.parametrize(
    ("cell", "reason", "detail"),
    [
        (None, "no conversation", "empty"),
        ([], "no conversation", "empty"),
        ("hello", "no conversation", "'hello' is no list of turns"),
        ("[{", "no conversation", "no list of turns"),
        ([[1], 2], "no conversation", "no list of turns"),
        ([{"role": "narrator", "content": "x"}], "unknown role", "turn 1: role 'narrator'"),
        ([*openai("a", "b"), {"content": "x"}, *openai("a", "b")], "unknown role", "turn 3: role None"),
        ({"beds": 2}, "no conversation", "no list of turns"),
        ([{"name": "x"}], "no conversation", "no list of turns"),
        (openai("a"), "no assistant turn", "roles user"),
        (openai("", "b"), "empty turn", "turn 1: user"),
        ([*openai("a"), {"role": "assistant", "content": None}], "empty turn", "turn 2: assistant"),
        ([*openai("a"), *openai("b", "c")], "two turns of one role", "turns 1 and 2: user"),
        ([*openai("a", "b"), *openai("a", "b")[1:]], "two turns of one role", "turns 2 and 3: assistant"),
        ([{"role": "assistant", "content": "hi"}], "no question", "no user turn"),
        ([{"from": "human", "value": "a"}, {"from": "function_call", "value": "f(x"}], "empty turn", "no JSON"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}, *openai("a", "b")[1:]],
         "no conversation", "type 'image_url'"),
    ],
)  # fmt: skip
def test_a_bad_turn_costs_the_conversation_and_says_why(cell: Any, reason: str, detail: str) -> None:
    with pytest.raises(BadConversation) as caught:
        read_conversation([cell])
    assert caught.value.reason == reason and detail in caught.value.detail


def test_tool_calls_have_one_form() -> None:
    asked = {"role": "user", "content": "Where is order 7?"}
    calls = [
        [asked, {"role": "assistant", "content": None, "tool_calls": [CALL]}],
        [asked, {"from": "function_call", "value": '{"name": "look_up", "arguments": {"order": 7}}'}],
    ]
    for turns in calls:
        *_, call = read_conversation([turns])
        assert call["tool_calls"][0]["function"] == {"name": "look_up", "arguments": {"order": 7}}
        assert call["content"] == ""
        reference = Prompt(messages=("talk",)).reference({"talk": turns})
        assert json.loads(reference) == [{"name": "look_up", "arguments": {"order": 7}}]


def test_a_prompt_has_one_form() -> None:
    prompt = Prompt.model_validate({"messages": "talk", "system": "You sell {goods}.", "tools": "functions"})
    tool = {"type": "function", "function": {"name": "look_up", "description": None}}
    row = {"talk": openai("hello", "good day"), "goods": "tea", "functions": json.dumps([tool])}
    turns = prompt.turns(row)
    assert shown(turns) == [("system", "You sell tea."), ("user", "hello")]
    assert turns[1]["tools"] == [{"type": "function", "function": {"name": "look_up"}}]
    assert prompt.turns({**row, "talk": openai("a", "b", system="own")})[0]["content"] == "own"
    assert prompt.reference(row) == "good day" and prompt.fields == {"talk", "goods"}
    for wrong in ({"user": "{a}"}, {"messages": "talk", "user": "{a}", "answer": "{b}"}, {}):
        with pytest.raises(ValueError, match="user and answer"):
            Prompt.model_validate(wrong)


# -- files -----------------------------------------------------------------------------------------------------


def talks(count: int, first: int = 0) -> list[Turns]:
    goods = ["tea", "coffee", "bread", "rice", "salt"]
    return [
        openai(
            f"customer {n}: is the {goods[n % 5]} of batch {n * 7} fresh?", "Which shop do you mean?",
            f"the one in street {n}, please look", f"yes, {goods[n % 5]} came today", system="You answer for a shop.",
        )
        for n in range(first, first + count)
    ]  # fmt: skip


def conversation_task(folder: Path, rows: list[dict[str, Any]], **changes: Any) -> Path:
    """A task over the column `talk` whose training file holds `rows`."""
    path = write_task(
        folder, base_model="tiny", choices=None, answer_column=None,
        prompt={"messages": "talk", "loss_on": "all"}, **changes,
    )  # fmt: skip
    write_jsonl(folder / "train.jsonl", rows)
    write_jsonl(folder / "dev.jsonl", [{"talk": talk} for talk in talks(20, 500)])
    write_jsonl(folder / "test.jsonl", [{"talk": talk} for talk in talks(20, 900)])
    return path


BAD: list[tuple[str, Any]] = [
    ("no conversation", None),
    ("unknown role", [{"role": "narrator", "content": "x"}, *openai("a", "b")]),
    ("empty turn", [*openai("a"), {"role": "assistant", "content": None}]),
    ("two turns of one role", [*openai("a"), *openai("a", "b")]),
    ("no assistant turn", openai("nobody answers")),
]


def test_bad_conversations_are_counted_by_reason_and_the_others_are_taught(tmp_path: Path) -> None:
    rows = [{"talk": talk} for talk in [*talks(40), *(cell for _, cell in BAD)]]
    task = read_task_file(conversation_task(tmp_path, rows))
    report = inspect_task(task)
    train, dev, _ = report.files
    assert (train.read, train.kept) == (45, 40) and dev.kept == 20 and not report.refusals
    assert {entry.reason: entry.rows for entry in train.dropped} == {reason: 1 for reason, _ in BAD}
    assert train.dropped[0].examples[0].startswith("train.jsonl:41: ")
    assert "You answer for a shop." in report.examples[0]["prompt"]
    assert report.examples[0]["answer"].startswith("yes, tea came today<")
    built = build(DataRecipe(streams=(Stream(source="train"),)), task, tmp_path / "sets")
    taught = list(read_jsonl(built.folder / "train.jsonl"))
    assert len(taught) == 40
    one = next(row for row in taught if "customer 3:" in str(row["prompt"]))
    assert shown([*one["prompt"], *one["completion"]]) == shown(talks(1, 3)[0])


def test_an_item_is_asked_with_all_turns_before_the_last_answer(tmp_path: Path) -> None:
    task = read_task_file(conversation_task(tmp_path, [{"talk": talk} for talk in talks(9)]))
    by_street = {item["reference"]: task.prompt.turns(item.row) for item in load_items(task.dev, task)}
    for talk in talks(5, 500):
        assert shown(by_street[talk[-1]["content"]])[:1] == [("system", "You answer for a shop.")]
    assert len(by_street) == 5  # as many answers as goods
    assert all(len(turns) == 4 and turns[-1]["role"] == "user" for turns in by_street.values())


@pytest.mark.parametrize("form", ["sharegpt", "text", "csv", "parquet"])
def test_the_form_of_a_file_changes_no_item(tmp_path: Path, form: str) -> None:
    texts = [[turn["content"] for turn in talk[1:]] for talk in talks(6, 500)]
    usual = [{"talk": openai(*talk)} for talk in texts]
    task = read_task_file(conversation_task(tmp_path, usual))
    write_jsonl(tmp_path / "usual.jsonl", usual)
    path = tmp_path / f"other.{form if form in ('csv', 'parquet') else 'jsonl'}"
    if form == "csv":
        import pandas as pd

        pd.DataFrame({"talk": [json.dumps(openai(*talk)) for talk in texts]}).to_csv(path, index=False)
    elif form == "parquet":
        write_parquet(path, usual)
    else:
        other = [sharegpt(*talk) for talk in texts]
        write_jsonl(path, [{"talk": talk if form == "sharegpt" else json.dumps(talk)} for talk in other])
    known = [(item["id"], item["reference"]) for item in load_items(tmp_path / "usual.jsonl", task)]
    assert [(item["id"], item["reference"]) for item in load_items(path, task)] == known and len(known) == 6


def test_data_is_cut_so_that_equal_questions_stay_together(tmp_path: Path) -> None:
    rows = [{"talk": talk} for talk in talks(60)]
    again = [{"talk": [*talk[:-1], {"role": "assistant", "content": "no, sold out"}]} for talk in talks(60)]
    write_jsonl(tmp_path / "all.jsonl", [*rows, *again, *({"talk": cell} for _, cell in BAD)])
    left_out = dict.fromkeys(("choices", "answer_column", "sources", "dev", "test"))
    write_yaml(tmp_path / "task.yaml", fields(data="all.jsonl", prompt={"messages": "talk"}, **left_out))
    task = read_task_file(tmp_path / "task.yaml")
    parts = [Path(task.sources[0].path), task.dev, task.test]
    asked = [{str(item["talk"][:-1]) for item in read_jsonl(path) if item["talk"]} for path in parts]
    assert not asked[0] & asked[1] and not asked[0] & asked[2] and not asked[1] & asked[2]
    assert all(len(part) > 4 for part in asked)


# -- the gate ----------------------------------------------------------------------------------------------------

HELD_OUT = talks(30, 500)
PROMPT = Prompt(messages=("talk",))


def trained(turns: Turns) -> dict[str, Any]:
    return {
        "prompt": turns[:-1],
        "completion": turns[-1:],
        "source": {"talk": json.dumps(turns)},
        "stream": "x",
    }


@pytest.fixture(scope="module")
def gate() -> ContaminationGate:
    return ContaminationGate([{"talk": talk, "reference": talk[-1]["content"]} for talk in HELD_OUT], PROMPT)


def test_training_rows_that_repeat_a_conversation_are_found(gate: ContaminationGate) -> None:
    one = HELD_OUT[3]
    assert gate.matches(trained(one))
    assert gate.matches(trained([*one[:-1], {"role": "assistant", "content": "I do not know"}]))
    assert gate.matches(trained(one[1:]))  # without its system turn
    assert gate.matches(trained([{"role": "system", "content": "Be brief."}, *one[1:]]))
    assert gate.matches(trained([*one, *openai("thank you", "you are welcome")]))
    assert gate.matches({"talk": sharegpt(*[turn["content"] for turn in one[1:]])})
    text = "\n".join(f"{turn['role']}: {turn['content']}" for turn in one)
    assert gate.matches({"text": text})


def test_other_conversations_with_the_same_system_turn_and_wording_are_not(gate: ContaminationGate) -> None:
    assert not any(gate.matches(trained(talk)) for talk in talks(200))
    polite = openai(
        "hello",
        "Which shop do you mean?",
        "never mind",
        "yes, tea came today",
        system="You answer for a shop.",
    )
    assert not gate.matches(trained(polite))


# -- models ------------------------------------------------------------------------------------------------------


def test_a_template_without_tool_calls_refuses_them_in_one_line(tmp_path: Path) -> None:
    called = [*openai("Where is order 7?"), {"role": "assistant", "content": "", "tool_calls": [CALL]}]
    rows = [{"talk": talk} for talk in [*talks(30), called]]
    task = read_task_file(conversation_task(tmp_path, rows))
    report = inspect_task(task)
    assert not report.refusals and report.files[0].not_rendered == 1
    assert any("train: 1 of 31 rows cannot be rendered" in note for note in report.notes)
    write_jsonl(tmp_path / "dev.jsonl", [{"talk": talk} for talk in [*talks(20, 500), called]])
    task = Task.model_validate(task.model_dump())
    [refusal] = inspect_task(task).refusals
    assert re.search(r"1 of 21 rows cannot be rendered for tiny .*writes no tool calls", refusal)
