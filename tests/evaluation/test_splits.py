from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trex.errors import InputError, IntegrityError
from trex.evaluation.grader import audit
from trex.evaluation.splits import confirm_items, content_id, load_items, search_items, split_by_hash
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


def test_a_cut_is_independent_of_the_cut_before_it(tmp_path: Path) -> None:
    parts = split_by_hash(rows(4000), {"train": 0.8, "dev": 0.1, "test": 0.1})
    assert {name: round(len(part), -2) for name, part in parts.items()} == {
        "train": 3200,
        "dev": 400,
        "test": 400,
    }
    task = make_task(tmp_path, parts["dev"])
    assert 0.5 < len(search_items(task)) / len(parts["dev"]) < 0.7


def test_the_same_content_falls_into_one_part() -> None:
    parts = split_by_hash([*rows(50), *rows(50)], {"train": 0.5, "test": 0.5})
    ids = {name: {content_id(row) for row in part} for name, part in parts.items()}
    assert not ids["train"] & ids["test"]
    assert sum(map(len, parts.values())) == 100


@pytest.mark.parametrize("shares", [{"a": 0.5, "b": 0.4}, {"a": 1.0, "b": 0.0}, {"a": 2.0, "b": -1.0}])
def test_shares_must_be_shares(shares: dict[str, float]) -> None:
    with pytest.raises(InputError, match="sum to 1"):
        split_by_hash(rows(3), shares)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "is empty"),
        ("\n \n", "is empty"),
        ('{"text": "a", "label": "b"}\n{"text": ', r"dev\.jsonl:2: not JSON"),
        ('{"text": "a"}\n', r"dev\.jsonl:1: column 'label' is missing"),
        ("[1]\n", r"dev\.jsonl:1: a JSON object is needed, found list"),
        ('{"text": "a", "label": NaN}\n', r"dev\.jsonl:1: "),
        ('{"text": "a", "label": "b", "reference": "c"}\n', r"dev\.jsonl:1: .*rename"),
    ],
)
def test_a_bad_file_is_named_with_its_line(tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "dev.jsonl"
    path.write_text(content)
    with pytest.raises(InputError, match=says) as caught:
        load_items(path, PROMPT, "label")
    assert "\n" not in str(caught.value)


def test_a_missing_or_binary_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="can't be read"):
        load_items(tmp_path / "none.jsonl", PROMPT)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="UTF-8"):
        load_items(tmp_path / "binary", PROMPT)


def test_separators_inside_strings_end_no_line(tmp_path: Path) -> None:
    path = tmp_path / "dev.jsonl"
    path.write_text(json.dumps({"text": "a\u2028b", "label": "x"}, ensure_ascii=False), encoding="utf-8")
    assert load_items(path, PROMPT)[0]["text"] == "a\u2028b"


def test_too_few_items_to_cut_is_refused(tmp_path: Path) -> None:
    task = make_task(tmp_path, rows(1))
    with pytest.raises(InputError, match="too few"):
        search_items(task), confirm_items(task)


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
