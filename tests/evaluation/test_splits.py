from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trex.errors import InputError, IntegrityError
from trex.evaluation.grader import audit
from trex.evaluation.splits import confirm_items, content_id, dev_items, load_items, search_items
from trex.evaluation.task import Prompt, Source, Task
from trex.files import write_jsonl

PROMPT = Prompt(user="Review: {text}", answer="{label}")
Rows = list[dict[str, object]]


def rows(n: int) -> Rows:
    return [{"text": f"film number {i}", "label": "positive" if i % 2 else "negative"} for i in range(n)]


def make_task(folder: Path, dev: Rows) -> Task:
    write_jsonl(folder / "dev.jsonl", dev)
    write_jsonl(folder / "test.jsonl", [{"text": "an unseen film", "label": "positive"}])
    return Task(
        name="films",
        requirement="Classify.",
        sources=[Source(name="train", path=str(folder / "train.jsonl"))],
        dev=folder / "dev.jsonl",
        test=folder / "test.jsonl",
        prompt=PROMPT,
    )


@given(
    st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=4), st.text(max_size=3)
)
def test_an_id_depends_on_content_alone(row: dict[str, object], own: str) -> None:
    shuffled = dict(reversed(row.items()))
    assert content_id(row) == content_id({**shuffled, "id": own})
    assert content_id(row) != content_id({**row, "another column": 1})


def test_search_and_confirm_share_dev_whatever_its_order(tmp_path: Path) -> None:
    dev = rows(400)
    first = make_task(tmp_path, dev)
    search, confirm = search_items(first), confirm_items(first)
    random.Random(1).shuffle(dev)
    second = make_task(tmp_path, [*dev, dev[0]])
    assert (search, confirm) == (search_items(second), confirm_items(second))
    assert not {i["id"] for i in search} & {i["id"] for i in confirm}
    assert len(search) + len(confirm) == 400
    assert 200 < len(search) < 280
    assert [i["id"] for i in search] == sorted(i["id"] for i in search)
    assert search[0]["reference"] == search[0]["label"]


def test_adding_items_moves_none(tmp_path: Path) -> None:
    before = {i["id"] for i in search_items(make_task(tmp_path, rows(100)))}
    after = {i["id"] for i in search_items(make_task(tmp_path, rows(200)))}
    assert before < after


@pytest.mark.parametrize("count", [2, 3, 5, 9])
def test_both_parts_of_a_small_dev_have_items(tmp_path: Path, count: int) -> None:
    for first in range(0, 60, 10):
        dev = [{"text": f"film {first + i}", "label": "positive"} for i in range(count)]
        task = make_task(tmp_path, dev)
        search, confirm = search_items(task), confirm_items(task)
        assert search and confirm and len(search) + len(confirm) == count


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "is empty"),
        ("\n \n", "is empty"),
        ('{"text": "a", "label": "b"}\n{"text": ', r"1 of 2 rows cannot be used: .*dev\.jsonl:2: not JSON"),
        ('{"text": "a"}\n', r"dev\.jsonl: no column 'label'.* the rows have: text"),
        ("[1]\n", r"dev\.jsonl:1: a JSON object is needed, found list"),
        ('{"text": "a", "label": NaN}\n', r"dev\.jsonl:1: label empty"),
    ],
)
def test_a_bad_file_is_named_with_its_line(tmp_path: Path, content: str, says: str) -> None:
    task = make_task(tmp_path, [])
    task.dev.write_text(content)
    with pytest.raises(InputError, match=says) as caught:
        dev_items(task)
    assert "\n" not in str(caught.value)


def test_a_missing_or_binary_file_is_refused(tmp_path: Path) -> None:
    task = make_task(tmp_path, [])
    with pytest.raises(InputError, match="can't be read"):
        load_items(tmp_path / "none.jsonl", task)
    (tmp_path / "binary.jsonl").write_bytes(bytes(range(256)))
    with pytest.raises(InputError, match="UTF-8"):
        load_items(tmp_path / "binary.jsonl", task)


@pytest.mark.parametrize("sign", ["\u2028", "\x85", "\\r", "\x0b"])
def test_separators_inside_strings_end_no_line(tmp_path: Path, sign: str) -> None:
    path = tmp_path / "dev.jsonl"
    path.write_text(json.dumps({"text": f"a{sign}b", "label": "x"}, ensure_ascii=False), encoding="utf-8")
    assert load_items(path, make_task(tmp_path / "t", rows(1)))[0]["text"] == f"a{sign}b"


@pytest.mark.parametrize(
    "name", ["id", "reference", "label", "customer text", "a.b", "x[0]", "prompt", "__class__"]
)
def test_a_column_may_have_any_name_and_keeps_its_values(tmp_path: Path, name: str) -> None:
    values = ["first value", "second value", "third value"]
    task = make_task(tmp_path, [])
    prompt = Prompt(user="Q: {" + name + "}", answer="{answer}")
    task = task.model_copy(update={"prompt": prompt, "answer_column": "answer"})
    task.dev.write_text("".join(json.dumps({name: v, "answer": v[0]}) + "\n" for v in values))
    items = dev_items(task)
    asked = {prompt.turns(item.row)[0]["content"] for item in items}
    assert asked == {f"Q: {value}" for value in values}
    assert {item["reference"] for item in items} == {"f", "s", "t"}
    assert len({item["id"] for item in items}) == 3


def test_too_few_items_to_cut_is_refused(tmp_path: Path) -> None:
    task = make_task(tmp_path, rows(1))
    with pytest.raises(InputError, match="dev has one item"):
        search_items(task)


def test_the_audit_trail_survives_a_torn_line(tmp_path: Path) -> None:
    audit.record(tmp_path, "grader", "seal", {"key": "k"})
    with (tmp_path / audit.FILE).open("a") as file:
        file.write('{"detail": {"key": "x')
    audit.record(tmp_path, "grader", "open_test")
    assert [entry.what for entry in audit.read(tmp_path)] == ["seal", "open_test"]


def test_a_foreign_audit_line_is_noticed(tmp_path: Path) -> None:
    (tmp_path / audit.FILE).write_text('{"what": "nothing"}\n')
    with pytest.raises(IntegrityError, match=":1 is not an audit entry"):
        audit.read(tmp_path)
