"""Rows of sources that repeat dev or test items: removed and counted; a recipe that selects for them is refused."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from support.cli import on_the_torch_free_runtime
from support.own_task import fields, tickets, write_task
from trex import run
from trex.evaluation.decontamination.gate import ContaminationGate, training_rows
from trex.evaluation.grader import audit
from trex.evaluation.grader.client import Grader
from trex.evaluation.results import ContaminationReport
from trex.evaluation.splits import load_items
from trex.evaluation.task import Task
from trex.evaluation.task_file import load_task
from trex.files import read_jsonl, write_jsonl, write_yaml
from trex.graph.executor.data_builder import DataBuilder, PreparedData
from trex.training.data.recipe import DataRecipe

Rows = list[dict[str, Any]]
Disguise = Callable[[str], str]


class GateOfTask:
    """A grader that can check data sets only, in this process."""

    def __init__(self, task: Task) -> None:
        items = [item.as_asked() for path in (task.dev, task.test) for item in load_items(path, task)]
        self.gate = ContaminationGate(items, task.prompt)

    def check_contamination(self, dataset: Path) -> ContaminationReport:
        return self.gate.check(training_rows(dataset))


def prepare(folder: Path, train: Rows, recipe: dict[str, Any] | None = None, **more: Rows) -> PreparedData:
    """The data set of a recipe (by default all rows of `train`) over sources of these rows."""
    sources = {"train": train} | more
    path = write_task(folder, sources=[{"name": name, "path": f"{name}.jsonl"} for name in sources])
    for name, rows in sources.items():
        write_jsonl(folder / f"{name}.jsonl", rows)
    task = load_task(path)
    builder = DataBuilder(task, folder / "run" / "datasets", None, cast(Grader, GateOfTask(task)))
    return builder.prepare(DataRecipe.model_validate(recipe or {"streams": [{"source": "train"}]}))


def copies(split: str, count: int, disguise: Disguise = str) -> Rows:
    """Rows that repeat the first items of a split of `write_task`."""
    first = {"dev": 1000, "test": 2000}[split]
    return [row | {"text": disguise(row["text"]), "kind": "copy"} for row in tickets(count, first)]


def own(count: int, first: int = 0) -> Rows:
    return [row | {"kind": "own"} for row in tickets(count, first)]


@pytest.mark.parametrize(
    ("split", "disguise", "count", "of"),
    [
        ("test", str, 1, 30),
        ("dev", str.upper, 12, 400),
        ("test", str.upper, 12, 400),
        ("dev", lambda text: f"  {text.replace(':', ' -')} !!", 20, 60),
    ],
)
def test_rows_of_a_source_that_repeat_items_are_removed(
    tmp_path: Path, split: str, disguise: Disguise, count: int, of: int
) -> None:
    rows = [*own(of - count), *copies(split, count, disguise)]
    random.Random(0).shuffle(rows)
    prepared = prepare(tmp_path, rows)
    report = prepared.contamination
    assert (report.matches, report.removed, report.clean, report.refusal) == (count, count, True, None)
    assert report.rows == [] and len(report.examples) == min(count, 20)
    left = [row["source"]["text"] for row in read_jsonl(prepared.dataset.folder / "train.jsonl")]
    assert sorted(left) == sorted(row["text"] for row in rows if row["kind"] == "own")
    assert prepared.dataset.rows == of - count
    assert f"{count} rows that repeat dev or test items removed" in prepared.dataset.summary
    assert prepared.dataset.steps[-1] == f"mix: remove repeats → {of - count}"
    [entry] = [e for e in audit.read(tmp_path / "run") if e.what == "remove_repeats"]
    assert entry.detail["rows"] == count


def test_the_same_rows_give_the_same_data_set(tmp_path: Path) -> None:
    rows = [*own(50), *copies("test", 4)]
    first, again = prepare(tmp_path / "a", rows), prepare(tmp_path / "a", rows)
    assert first == again
    elsewhere, fewer = prepare(tmp_path / "b", rows[::-1]), prepare(tmp_path / "c", rows[:-1])
    assert len({prepared.dataset.fingerprint for prepared in (first, elsewhere, fewer)}) == 3


SELECTING: dict[str, dict[str, Any]] = {
    "only the copies": {"steps": [{"op": "filter", "column": "kind", "equals": "copy"}]},
    "mostly the copies": {
        "streams": [
            {"source": "train", "weight": 3, "steps": [{"op": "filter", "column": "kind", "equals": "copy"}]},
            {"source": "train", "weight": 1},
        ],
        "rows": 16,
    },
    "far more of them": {
        "streams": [
            {"source": "train", "weight": 1, "steps": [{"op": "filter", "column": "kind", "equals": "copy"}]},
            {"source": "train", "weight": 2, "steps": [{"op": "filter", "column": "kind", "equals": "own"}]},
        ],
        "rows": 36,
    },
}


@pytest.mark.parametrize("recipe", SELECTING.values(), ids=SELECTING)
def test_a_recipe_that_selects_for_repeats_is_refused(tmp_path: Path, recipe: dict[str, Any]) -> None:
    rows = [*own(388), *copies("dev", 6), *copies("test", 6)]
    prepared = prepare(tmp_path, rows, {"streams": [{"source": "train"}]} | recipe)
    report = prepared.contamination
    assert not report.clean and report.removed == 0
    assert report.refusal is not None and "training rows repeat dev or test items: refused" in report.refusal
    assert "remove_repeats" not in [entry.what for entry in audit.read(tmp_path / "run")]


def test_a_source_of_copies_alone_is_refused_and_one_with_many_is_not(tmp_path: Path) -> None:
    nothing_left = prepare(tmp_path / "a", copies("test", 20, str.upper))
    assert nothing_left.contamination.refusal is not None
    both: dict[str, Any] = {"streams": [{"source": "train"}, {"source": "scraped"}]}
    prepared = prepare(tmp_path / "b", own(60), both, scraped=[*own(10, 500), *copies("dev", 25)])
    assert prepared.contamination.removed == 25 and prepared.dataset.rows == 70


def test_a_run_trains_on_the_rows_that_repeat_nothing(
    tmp_path: Path, fresh_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`data` in which 12 rows come again in capitals, under other ids."""
    on_the_torch_free_runtime(monkeypatch)
    rows = tickets(400)
    rows += [row | {"text": row["text"].upper()} for row in random.Random(1).sample(rows, 12)]
    write_jsonl(tmp_path / "all.jsonl", [{"ticket": 7000 + n} | row for n, row in enumerate(rows)])
    path = tmp_path / "tickets.yaml"
    write_yaml(path, fields(data="all.jsonl", sources=None, dev=None, test=None))
    done = run(path, out=tmp_path / "run", smoke=True, rounds=1, trials=2)
    first = done.tree["e001"]
    assert first.failure is None and any(trial.status == "done" for trial in first.trials)


def test_a_run_reports_what_it_removed(
    tmp_path: Path, fresh_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_the_torch_free_runtime(monkeypatch)
    path = write_task(tmp_path)
    write_jsonl(tmp_path / "train.jsonl", [*own(81), *copies("dev", 2), *copies("test", 1)])
    done = run(path, out=tmp_path / "run", smoke=True, rounds=1, trials=2)
    first = done.tree["e001"]
    assert first.dataset is not None and first.dataset.contamination is not None
    assert first.dataset.contamination.removed == 3 and first.dataset.rows == 81
    assert "contaminated" in [entry.what for entry in audit.read(tmp_path / "run")]
    story = first.model_dump_json()
    assert not any(row["text"] in story for row in [*copies("dev", 2), *copies("test", 1)]), (
        "items are not quoted"
    )
    report = (tmp_path / "run" / "report.md").read_text()
    assert "3 matches, 3 rows removed." in report
