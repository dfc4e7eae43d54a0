"""Recipes with rows for preference training and for pretraining."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.recipes import MakeTask, recipe, task_in
from trex.errors import PlanError
from trex.training.data.build import Preview, preview
from trex.training.data.operators.reject import Reject


@pytest.fixture
def make(tmp_path: Path) -> MakeTask:
    return task_in(tmp_path)


def rows(**columns: list[Any]) -> list[dict[str, Any]]:
    labels = ["positive", "negative"] * 4
    found = [{"text": f"a film of the year {n}", "label": label} for n, label in enumerate(labels)]
    return [row | {name: values[n] for name, values in columns.items()} for n, row in enumerate(found)]


def answers(found: Preview) -> list[tuple[str, bool]]:
    return sorted((row["completion"][0]["content"], row["desirable"]) for row in found.rows)


def test_answers_are_marked_by_a_column_however_it_is_written(make: MakeTask) -> None:
    task = make(movies=rows(desirable=["true", "False", "1", "0", "yes", "no", "maybe", ""]))
    task = task.model_copy(update={"rows": task.rows.model_copy(update={"max_dropped": 0.5})})
    found = preview(recipe(output="unpaired"), task)
    assert answers(found) == [("negative", False)] * 3 + [("positive", True)] * 3
    assert (found.report.contents.good, found.report.contents.bad) == (3, 3)
    assert "3 rows are bad answers" in found.report.summary
    [dropped] = found.report.dropped
    assert (dropped.reason, dropped.rows) == ("not marked good or bad", 2)


def test_a_worse_answer_makes_a_bad_row(make: MakeTask) -> None:
    found = preview(recipe(Reject(column="label"), output="unpaired"), make(movies=rows()))
    assert answers(found) == [
        *[("negative", False)] * 4, *[("negative", True)] * 4, *[("positive", False)] * 4, *[("positive", True)] * 4,
    ]  # fmt: skip
    assert len(found.lineage) == len(found.rows) == 16


def test_plain_text_needs_no_question(make: MakeTask) -> None:
    found = preview(recipe(output="text"), make(movies=rows()))
    assert [row["prompt"] for row in found.rows] == [[]] * 8
    assert {row["completion"][0]["content"] for row in found.rows} == {row["text"] for row in rows()}
    assert found.report.contents.texts == 8 and "8 different texts" in found.report.summary


@pytest.mark.parametrize(
    ("output", "says"),
    [
        ("pairs", "no column 'rejected'; .* add the step `reject`"),
        ("unpaired", "no column 'desirable' or 'rejected'; .* `compute` step, or add the step `reject`"),
    ],
)
def test_a_missing_column_is_named_with_the_mend(make: MakeTask, output: str, says: str) -> None:
    with pytest.raises(PlanError, match=says):
        preview(recipe(output=output), make(movies=rows()))
