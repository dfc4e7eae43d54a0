"""`trex recipe` on the terminal and as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.cli import Said, Trex, caller
from trex.graph.cli.recipe_view import recipe_changes
from trex.training.data.recipe_file import recipe_from_yaml

RECIPE = """
streams:
  - source: movie
    steps:
      - {op: where, test: len(text) > 20}
      - {op: threshold, column: rating}
rows: 12
"""
OTHER = """
streams:
  - source: movie
    weight: 2
    steps:
      - {op: where, test: len(text) > 20}
      - {op: threshold, column: rating, above: 1}
  - source: tweets
"""


@pytest.fixture
def trex(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], fresh_home: Path) -> Trex:
    return caller(monkeypatch, capfd)


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return str(path)


def read(said: Said) -> Any:
    assert said.code == 0, said
    return json.loads(said.out)


def test_schema(trex: Trex) -> None:
    assert "where" in json.dumps(read(trex("recipe", "schema")))
    assert read(trex("recipe", "schema", "where"))["properties"].keys() == {"op", "test"}
    assert "\nwhere(test): Keep rows" in trex("recipe", "schema", "--compact").out
    trex("recipe", "schema", "whre").complains(2, "no data operator 'whre'", "where")


def test_check_and_preview(trex: Trex, recipe: str) -> None:
    said = trex("recipe", "check", recipe, "sentiment", "--smoke")
    assert said.code == 0 and said.out.startswith("the recipe can be carried out: 12 rows from movie 12")
    shown = trex("recipe", "preview", recipe, "sentiment", "--smoke", "--rows", "2").out
    assert "load movie" in shown and "test is false" in shown and "streams[0].steps[1] threshold" in shown
    found = read(trex("recipe", "preview", recipe, "sentiment", "--smoke", "--json"))
    assert [step["op"] for step in found["steps"]] == ["load", "where", "threshold", "mix"]
    assert all(len(step["sample"]) == 1 for step in found["steps"])
    assert found["contents"]["rows"] == 12 and found["steps"][1]["dropped"]["test is false"] > 0


def test_build_and_stats(trex: Trex, recipe: str, tmp_path: Path) -> None:
    folder = str(tmp_path / "out")
    built = read(trex("recipe", "build", recipe, "sentiment", "--smoke", "--out", folder, "--json"))
    assert read(trex("recipe", "stats", built["folder"], "--json")) == built["report"]
    said = trex("recipe", "stats", built["folder"])
    assert "12 rows from movie 12" in said.out and "answers: 'positive' 7, 'negative' 5" in said.out
    trex("recipe", "stats", folder).complains(1, "no intact data set")


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        (RECIPE.replace("where", "wher"), 1, "did you mean 'where' instead of 'wher'?"),
        (RECIPE.replace("test:", "tests:"), 1, "did you mean 'test' instead of 'tests'?"),
        (RECIPE.replace("len(", "size("), 1, "no function 'size'"),
        (
            RECIPE.replace("len(text)", "len(txt)"),
            1,
            "where: test: no column 'txt'; the rows have: id, text, rating; did you mean 'text'?",
        ),
        (RECIPE.replace("rows: 12", "rws: 12"), 1, "did you mean 'rows' instead of 'rws'?"),
        (RECIPE.replace("source: movie", "sourc: movie"), 1, "did you mean 'source' instead of 'sourc'?"),
        (RECIPE.replace("movie", "film"), 1, "no source named 'film'; the task allows"),
    ],
)
def test_an_error_names_the_place_and_the_mend(
    trex: Trex, recipe: str, text: str, code: int, message: str
) -> None:
    Path(recipe).write_text(text)
    said = trex("recipe", "check", recipe, "sentiment", "--smoke")
    assert said.code == code and message in said.err and len(said.err.strip().splitlines()) == 1, said


def test_a_file_that_is_not_there(trex: Trex, tmp_path: Path) -> None:
    trex("recipe", "check", str(tmp_path / "none.yaml"), "sentiment").complains(2, "No such file")


def test_diff(trex: Trex, recipe: str, tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text(OTHER)
    said = read(trex("recipe", "diff", recipe, str(tmp_path / "other.yaml"), "--json"))
    assert said == [
        "rows: 12 became None",
        "added source 'tweets'",
        "weight of source 'movie': 1.0 became 2.0",
        'threshold {"column":"rating"} became threshold {"above":1.0,"column":"rating"} (source \'movie\')',
    ]
    assert trex("recipe", "diff", recipe, recipe).out == "the recipes are the same\n"
    same = recipe_from_yaml(RECIPE)
    assert recipe_changes(same, same) == []


def test_steps_that_ask_a_model_or_run_code(trex: Trex, tmp_path: Path) -> None:
    path = tmp_path / "made.yaml"
    start = "streams: [{source: movie, steps: [{op: threshold, column: rating}, "
    path.write_text(start + "{op: generate, n: 2, max_new_tokens: 2}]}]")
    said = trex("recipe", "check", str(path), "sentiment", "--smoke")
    assert said.code == 0 and "calls of the model 'policy'" in said.out
    said = trex("recipe", "preview", str(path), "sentiment", "--smoke")
    assert said.code == 1 and "16 answers, 16 cut" in said.err
    path.write_text(start + "{op: python, code: 'def row(row): return {}'}]}]")
    assert "give --allow-python" in trex("recipe", "check", str(path), "sentiment", "--smoke").err
    assert trex("recipe", "check", str(path), "sentiment", "--smoke", "--allow-python").code == 0
