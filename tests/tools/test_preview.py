"""A preview: the same rows that a build would make, counted, and nothing written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.recipes import LABEL, MakeTask, recipe, reviews, task_in
from trex.errors import PlanError
from trex.tools.preview import preview_tool
from trex.training.data.build import build
from trex.training.data.operators.balance import Balance
from trex.training.data.operators.dedup import Dedup
from trex.training.data.operators.filter import Filter
from trex.training.data.operators.sample import Sample
from trex.training.data.recipe import DataRecipe, Stream
from trex.training.data.recipe_file import recipe_to_yaml


@pytest.fixture
def task_of(tmp_path: Path) -> MakeTask:
    return task_in(tmp_path)


def as_argument(plan: DataRecipe) -> dict[str, Any]:
    return {"recipe": plan.model_dump(mode="json", exclude_none=True)}


def test_the_preview_says_what_a_build_makes(task_of: MakeTask, tmp_path: Path) -> None:
    task = task_of(movies=reviews(200))
    plan = recipe(LABEL, Dedup(columns=("text",)), Balance(column="label"), steps=(Sample(n=40),))
    before = sorted(path.name for path in tmp_path.iterdir())
    text = str(preview_tool(task).invoke(as_argument(plan)))
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    built = build(plan, task, tmp_path / "built")
    contents = built.report.contents
    assert f"rows: {contents.rows} (movies {contents.rows})" in text
    assert "answers: " + ", ".join(f"{a!r} {n}" for a, n in contents.answers.items()) in text
    assert (
        f"median {contents.words.p50}, 95 % up to {contents.words.p95}, longest {contents.words.max}" in text
    )
    for step in built.report.steps:
        if step.op != "load":
            assert f"  {step.where}: {step.rows}\n" in text
    assert "  load movies: 200\n" in text


def test_examples_are_conversations_as_trained_on(task_of: MakeTask, tmp_path: Path) -> None:
    task = task_of(movies=reviews(50))
    text = str(preview_tool(task).invoke(as_argument(recipe(LABEL))))
    rows = [
        json.loads(line)
        for line in (build(recipe(LABEL), task, tmp_path / "built").folder / "train.jsonl").open()
    ]
    first = rows[0]
    assert text.count("example ") == 3
    question = first["prompt"][0]["content"].splitlines()
    assert question[0] in text
    assert question[1] in text
    assert f"assistant: {first['completion'][0]['content']}" in text


def test_repeated_rows_are_pointed_out(task_of: MakeTask) -> None:
    rows = [{"text": "the same", "label": "yes", "id": i} for i in range(7)]
    tool = preview_tool(task_of(movies=rows))
    assert "6 rows repeat another row: add a dedup step" in tool.invoke(as_argument(recipe()))
    assert "repeat" not in tool.invoke(as_argument(recipe(Dedup(columns=("text",)))))


def test_a_recipe_may_come_as_text(task_of: MakeTask) -> None:
    tool = preview_tool(task_of(movies=reviews(50)))
    plan = recipe(LABEL)
    shown = tool.invoke(as_argument(plan))
    assert tool.invoke({"recipe": plan.model_dump_json()}) == shown
    assert tool.invoke({"recipe": recipe_to_yaml(plan)}) == shown
    assert tool.invoke({"recipe": "streams: ["}).startswith("error: recipe: ")


def test_what_is_wrong_is_said_with_its_place(task_of: MakeTask) -> None:
    tool = preview_tool(task_of(movies=reviews(50)))
    with pytest.raises(PlanError, match="no source named 'films'; the task allows: movies"):
        tool.invoke(as_argument(DataRecipe(streams=(Stream(source="films"),))))
    with pytest.raises(PlanError, match=r"streams\[0\]\.steps\[0\] filter: no column 'stars'"):
        tool.invoke(as_argument(recipe(Filter(column="stars", equals=1))))
    with pytest.raises(PlanError, match="empty after"):
        tool.invoke(as_argument(recipe(Filter(column="rating", at_least=100))))
    with pytest.raises(PlanError, match="add a threshold step"):
        tool.invoke(as_argument(recipe()))
    said = str(tool.invoke({"recipe": {"streams": [{"source": "movies", "steps": [{"op": "shell"}]}]}}))
    assert said.startswith("error: recipe.streams.0.steps.0")
    assert "\n" not in said


def test_long_rows_and_many_answers_stay_within_bounds(task_of: MakeTask) -> None:
    rows = [{"text": "word " * 5000, "label": f"{i} " + "answer " * 300} for i in range(40)]
    text = str(preview_tool(task_of(movies=rows)).invoke(as_argument(recipe())))
    assert len(text) < 9000
    assert "40 different; the most frequent: " in text
    assert "characters)" in text
