"""The TOMG-Bench task: its samples, and how published rows become items."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from trex.evaluation.metrics import measure, metric
from trex.evaluation.metrics.tomg import SUBTASKS, read_request
from trex.evaluation.statistics.intervals import score_measured
from trex.files import read_jsonl
from trex.ftbench.benchmark import Record
from trex.ftbench.data_sources import HubHome
from trex.ftbench.tasks import tomg
from trex.ftbench.validation import problems

SAMPLES = list(read_jsonl(tomg.BENCHMARK.samples_file))


def test_the_samples_make_a_task_that_validates_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TREX_HOME", str(tmp_path))
    task = tomg.load(smoke=True)
    assert problems(task) == []
    assert len(list(read_jsonl(task.dev))) == len(list(read_jsonl(task.test))) == 9


def test_every_sample_has_an_answer_that_the_scorer_calls_right() -> None:
    assert Counter(line["row"]["subtask"] for line in SAMPLES) == dict.fromkeys(SUBTASKS, 4)
    assert {line["part"] for line in SAMPLES} == {"train", "dev", "test"}
    rows, gold = [line["row"] for line in SAMPLES], [line["gold"] for line in SAMPLES]
    for name in ("tomg", "tomg/upstream"):
        scorer = metric(name)
        right = measure(scorer, rows, gold)
        assert right.values == [1.0] * len(SAMPLES)
        assert score_measured(scorer, right).value == 1.0
        shifted = measure(scorer, rows, [*gold[1:], gold[0]])
        assert score_measured(scorer, shifted).value < 0.5
    assert all(read_request(row).satisfiable for row in rows)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Add a nitro to the molecule OCC.", "Modify the molecule CCO to decrease its LogP value.", True),
        ("Remove a halo from the molecule CCCl.", "Remove a halo from the molecule CCBr.", False),
        (
            "The molecule has 2 nitro groups, and 1 thiol group.",
            "Draw 1 thiol group and 2 nitro groups.",
            True,
        ),
        ("The molecule has 1 carbon atom.", "The molecule has 2 carbon atoms.", False),
        ("The molecule has 1 single bond.", "The molecule contains 1 single bond.", True),
        ("A molecule with 2 benzene rings groups.", "There are 2 benzene rings groups.", True),
        ("Hello.", "Hello!", False),
    ],
)
def test_rows_about_the_same_thing_share_a_group(one: str, other: str, same: bool) -> None:
    assert (tomg.about({"Instruction": one}) == tomg.about({"Instruction": other})) is same


def published(home: HubHome, split: str, config: str | None = None) -> Iterator[dict[str, Any]]:
    """Invented rows in the published columns: 40 molecules to edit, or a pool that repeats some of them."""
    if config == "MolEdit_DelComponent":
        for n in range(1, 41):
            molecule = "C" * n + "Cl"
            instruction = f"Remove a halo from the molecule {molecule}."
            row = {"index": n, "Instruction": instruction, "molecule": molecule, "removed_group": "halo"}
            yield row
            yield {**row, "molecule": "C" * n, "Instruction": f"Remove a halo from the molecule {'C' * n}."}
    elif config is None:
        for n in range(1, 61):
            instruction = f"Modify the molecule Cl{'C' * n} to have a lower LogP value."
            yield {"SubTask": "LogP", "Instruction": instruction, "molecule": "CO"}


def test_published_rows_are_cut_by_what_they_are_about(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HubHome, "rows", published)
    monkeypatch.setattr(tomg, "SHARE", 1.0)
    records = list(tomg.read())
    assert Counter(record.part for record in records) == {"cut": 40, "train": 60}  # each pool row once
    parts = tomg.BENCHMARK.parts(records)
    about = {name: {tomg.about(row) for row in rows} for name, rows in parts.items()}
    assert len(parts["dev"]) + len(parts["test"]) == 40
    assert not about["dev"] & about["test"]
    assert len(parts["train"]) == 20  # those about other molecules
    assert not about["train"] & (about["dev"] | about["test"])
    assert {row["gold"] for row in parts["train"]} == {"CO"}
    assert {row["gold"] for row in parts["dev"]} == {""}
    assert all(row["subtask"] == "DelComponent" for row in parts["test"])


def test_a_tenth_of_the_published_rows_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HubHome, "rows", published)
    monkeypatch.setattr(tomg, "POOLS", ())
    taken: list[Record] = list(tomg.read())
    assert 0 < len(taken) < 15
    assert [record.row for record in taken] == [record.row for record in tomg.read()]
