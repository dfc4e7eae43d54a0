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
from trex.training.data.build import build
from trex.training.data.row_table import KEY
from trex.training.data.sources import HubReference, load


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
    assert loaded[0].to_list() == loaded[1].to_list() == loaded[2].to_list()
    assert loaded[0].remove_columns(KEY).to_list() == rows


def test_rows_may_lack_columns(make_task: MakeTask) -> None:
    rows = load(make_task(movies=[{"a": 1}, {"b": "x"}]), "movies")
    assert rows.remove_columns(KEY).to_list() == [{"a": 1, "b": None}, {"a": None, "b": "x"}]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.jsonl", b"", "x.jsonl: it is empty"),
        ("x.jsonl", b"\n\n", "x.jsonl: it is empty"),
        ("x.jsonl", b'{"a": 1}\n\n{"a": \n', "line 3 is malformed"),
        ("x.jsonl", b'{"a": 1}\n[1]\n', "line 2 is malformed: not an object but a list"),
        ("x.jsonl", b'{"a": NaN}\n', "line 1 is malformed: NaN is not JSON"),
        ("x.jsonl", b'{"a": "\xff"}\n', "line 1 is malformed: 'utf-8' codec"),
        ("x.jsonl", b'{"a": "\\ud800"}\n', "surrogates not allowed"),
        ("x.jsonl", b'{"a": 1}\n{"a": "b"}\n', "column 'a' mixes int and str"),
        ("x.jsonl", b'{"__key": 1}\n', "rename column '__key'"),
        ("x.csv", b"a,b\n", "x.csv: it is empty"),
        ("x.csv", b"a,b\n1,2\n1,2,3\n", "Row #3: Expected 2 columns, got 3"),
        ("x.csv", b"a,a\n1,2\n", "two columns share a name: a, a"),
        ("x.parquet", b"no parquet", "x.parquet: "),
        ("x.txt", b"hello", "x.txt is none of .jsonl, .csv, .parquet"),
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
        "owner/name", "abc", "validation"
    )
    assert HubReference.parse("hub:owner/name") == HubReference("owner/name", None, "train")
    for wrong in ("hub:name", "hub:../etc/passwd", "hub:owner/name@", "hub:https://x.org/y"):
        with pytest.raises(ValueError, match="not of the form hub:owner/name@revision#split"):
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
