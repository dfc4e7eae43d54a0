"""Sources: what is loaded, what is refused, and in which words."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.recipes import MakeTask, recipe, task_in
from trex.errors import InputError, IntegrityError, PlanError
from trex.evaluation.data_files import HubReference
from trex.training.data.build import build
from trex.training.data.row_table import KEY, numbers
from trex.training.data.sources import load, read_source


@pytest.fixture
def make_task(tmp_path: Path) -> MakeTask:
    return task_in(tmp_path)


def test_the_three_kinds_of_files_give_the_same_rows(make_task: MakeTask, tmp_path: Path) -> None:
    from datasets import Dataset

    rows = [
        {"id": 1, "rating": 1.5, "text": 'She said "NA",\nand left', "day": "2020-01-01", "answer": "true"},
        {"id": 2, "rating": -2.0, "text": "null", "day": "2020-01-02", "answer": "false"},
    ]
    Dataset.from_list(rows).to_csv(tmp_path / "c.csv")
    Dataset.from_list(rows).to_parquet(tmp_path / "p.parquet")
    task = make_task(j=rows, c=tmp_path / "c.csv", p=tmp_path / "p.parquet")
    loaded = [load(task, name) for name in ("j", "c", "p")]
    assert loaded[0].to_list() == loaded[2].to_list()
    assert loaded[0].remove_columns(KEY).to_list() == rows
    text, plain = loaded[1].remove_columns(KEY).to_list(), loaded[0].remove_columns(KEY).to_list()
    assert text == [{name: str(value) for name, value in row.items()} for row in plain]
    assert numbers(loaded[1], "rating") == numbers(loaded[0], "rating") == [1.5, -2.0]


def test_rows_may_lack_columns(make_task: MakeTask) -> None:
    rows = load(make_task(movies=[{"a": 1}, {"b": "x"}]), "movies")
    assert rows.remove_columns(KEY).to_list() == [{"a": 1, "b": None}, {"a": None, "b": "x"}]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.jsonl", b"", "x.jsonl is empty"),
        ("x.jsonl", b"\n\n", "x.jsonl is empty"),
        (
            "x.jsonl",
            b'{"text": "a"}\n\n{"a": \n',
            "1 of 2 rows cannot be used: 1 unreadable (e.g. x.jsonl:3: not JSON",
        ),
        ("x.jsonl", b'{"text": "a"}\n[1]\n', "x.jsonl:2: a JSON object is needed, found list"),
        ("x.jsonl", b'{"text": "\\ud800"}\n', "half of a surrogate pair"),
        ("x.jsonl", b"[" * 3000, "nested too deeply"),
        ("x.jsonl", b'{"text": ' + b"9" * 5000 + b"}", "a number of too many digits"),
        ("x.jsonl", b'{"__key": 1}\n', "rename column '__key'"),
        ("x.json", b'{"text": ', "not JSON"),
        ("x.json", b"[1, 2]", "x.json:1: a JSON object is needed, found int"),
        ("x.csv", b"a,b\n", "x.csv is empty"),
        ("x.csv", b"a,b\n1,2\n1,2,3\n", "x.csv:3: 3 values for 2 columns"),
        ("x.csv", b"a,a\n1,2\n", "two columns share the name 'a'"),
        ("x.csv", bytes(range(256)), "is not UTF-8 text, and no other encoding fits"),
        ("x.jsonl.gz", b"no archive", "x.jsonl.gz"),
        ("x.parquet", b"no parquet", "x.parquet: "),
        ("x.arrow", b"no arrow", "x.arrow: "),
        ("x.txt", b"hello", "'.txt' is none of .jsonl, .ndjson, .json, .csv"),
    ],
)
def test_a_bad_file_is_one_clear_line(
    make_task: MakeTask, tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        load(make_task(movies=tmp_path / name), "movies")
    assert message in str(caught.value) and "source 'movies'" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_odd_row_costs_that_row(make_task: MakeTask, tmp_path: Path) -> None:
    odd = [
        b"[1]",
        b'{"text": null, "label": "a"}',
        b'{"text": "x", "label": " "}',
        b"[" * 3000,
        b'{"text": "\\ud800"}',
    ]
    good = [b'{"text": "row %d", "label": "a"}' % n for n in range(100)]
    (tmp_path / "rows.jsonl").write_bytes(b"\n".join([*good, *odd]))
    found = read_source(make_task(movies=tmp_path / "rows.jsonl"), "movies")
    assert len(found.rows) == 100 and found.counts.read == 105
    assert {entry.reason: entry.rows for entry in found.counts.dropped} == {
        "unreadable": 3,
        "no question": 1,
        "no answer": 1,
    }
    assert found.counts.dropped[0].examples[0] == "rows.jsonl:101: a JSON object is needed, found list"


def test_a_missing_file_and_an_unlisted_source(make_task: MakeTask, tmp_path: Path) -> None:
    task = make_task(movies=tmp_path / "gone.jsonl")
    with pytest.raises(InputError, match=r"source 'movies': no file .*gone\.jsonl"):
        load(task, "movies")
    with pytest.raises(PlanError, match="no source named 'dev'; the task allows: movies"):
        load(task, "dev")


@pytest.mark.parametrize("split", ["dev", "test"])
@pytest.mark.parametrize("way", ["itself", "symlink", "hard link", "copy"])
def test_dev_and_test_are_refused_as_sources(
    make_task: MakeTask, tmp_path: Path, split: str, way: str
) -> None:
    sealed, other = tmp_path / f"{split}.jsonl", tmp_path / "other.jsonl"
    task = make_task(movies=sealed if way == "itself" else other)
    if way == "symlink":
        other.symlink_to(sealed)
    elif way == "hard link":
        other.hardlink_to(sealed)
    elif way == "copy":
        other.write_bytes(sealed.read_bytes())
    with pytest.raises(IntegrityError, match=f"is the task's {split} split"):
        build(recipe(), task, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*/"))


def test_hub_names() -> None:
    assert HubReference.parse("hub:owner/name@abc#validation") == HubReference(
        "owner/name", None, "abc", "validation"
    )
    assert HubReference.parse("hub:owner/name") == HubReference("owner/name", None, None, "train")
    assert HubReference.parse("hub:nyu-mll/glue:sst2#test") == HubReference(
        "nyu-mll/glue", "sst2", None, "test"
    )
    for wrong in ("hub:name", "hub:../etc/passwd", "hub:owner/name@", "hub:https://x.org/y"):
        with pytest.raises(InputError, match="not of the form hub:owner/name:config@revision#split"):
            HubReference.parse(wrong)


def test_a_hub_that_cannot_be_reached_is_one_clear_line(tmp_path: Path) -> None:
    code = (
        "from trex.training.data.sources import load\nfrom trex.evaluation.task import *\n"
        "web = Source(name='web', path='hub:owner/name@main#train')\n"
        "task = Task(name='t', requirement='r', sources=[web],"
        "dev='dev.jsonl', test='test.jsonl', prompt=Prompt(user='{text}', answer='{label}'))\n"
        "load(task, 'web')"
    )
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "TREX_HOME": str(tmp_path),
        "HOME": str(tmp_path / "user"),
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    last = done.stderr.strip().splitlines()[-1]
    assert re.search(
        r"InputError: source 'web': hub:owner/name@main#train could not be loaded: .*local \.parquet", last
    )
    assert not (tmp_path / "user").exists()
