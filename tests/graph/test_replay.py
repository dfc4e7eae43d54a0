"""`trex replay`: prepared and checked as in a run; what is not as in the run is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.cli import Said, caller
from support.finished import copy_of, replays_without_torch
from support.own_task import tickets
from support.text_models import ToyModel
from trex import Run
from trex.evaluation.task import Task
from trex.files import read_json, read_jsonl, read_yaml, write_json, write_jsonl, write_yaml
from trex.graph.finish.export import export_answers
from trex.training.data.build import build
from trex.training.data.models.model_access import ModelAccess
from trex.training.data.recipe import DataRecipe

Row = dict[str, Any]
SAME, ANOTHER = "(same trial id)", "(another trial id)"


@dataclass(frozen=True)
class Winner:
    """The copy of a finished run whose best/ is edited, and what `trex replay` says of it."""

    run: Path
    replay: Callable[[], Said]

    def edit(self, name: str, **fields: Any) -> None:
        """Set fields of a document of best/."""
        path = self.run / "best" / name
        yaml = path.suffix == ".yaml"
        document = (read_yaml if yaml else read_json)(path) | fields
        (write_yaml if yaml else write_json)(path, document)

    def train_on(self, rows: list[Row]) -> None:
        """List a new source of these rows in task.json, and name it alone in recipe.yaml."""
        path = self.run / "more.jsonl"
        write_jsonl(path, rows)
        task = read_json(self.run / "best" / "task.json")
        more = task["sources"][0] | {"name": "more", "path": str(path)}
        self.edit("task.json", sources=[*task["sources"], more])
        self.edit("recipe.yaml", streams=[{"source": "more"}], steps=[], rows=None)

    def held_out(self, split: str) -> list[Row]:
        return list(read_jsonl(Path(read_json(self.run / "task.json")[split])))


@pytest.fixture
def winner(
    finished: Run,
    tmp_path: Path,
    fresh_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Winner:
    replays_without_torch(monkeypatch, finished)
    trex, run = caller(monkeypatch, capfd), copy_of(finished, tmp_path / "run")
    return Winner(run, lambda: trex("replay", run))


def test_an_unedited_winner(winner: Winner) -> None:
    said = winner.replay()
    assert said.code == 0 and SAME in said.out and "differ" not in said.out, said
    [ours, again] = [line.split("dev")[1] for line in said.out.splitlines() if "dev" in line]
    assert again.startswith(ours)


def _wrapped(row: Row) -> Row:
    return row | {"text": f"  {row['text'].upper()} !!"}


@pytest.mark.parametrize(
    ("rows", "removed"),
    [
        (lambda winner: winner.held_out("test")[:3], 3),
        (lambda winner: [_wrapped(row) for row in winner.held_out("dev")[:5]], 5),
        (lambda winner: [winner.held_out("dev")[0], _wrapped(winner.held_out("test")[0])], 2),
    ],
    ids=["some of test", "dev in disguise", "both"],
)
def test_held_out_rows_of_a_source_are_removed_and_counted(
    winner: Winner, rows: Callable[[Winner], list[Row]], removed: int
) -> None:
    winner.train_on([*tickets(90), *rows(winner)])
    said = winner.replay()
    assert said.code == 0 and f"\n{removed} training rows repeat dev or test items: removed\n" in said.out, (
        said
    )
    assert ANOTHER in said.out and "recipe.yaml differs" in said.out, said


def test_a_source_of_held_out_rows_is_refused(winner: Winner) -> None:
    winner.train_on([*winner.held_out("dev"), *winner.held_out("test")])
    said = winner.replay()
    said.complains(1, "training rows repeat dev or test items: refused")
    assert "dev 0." not in said.out


def test_a_source_that_is_the_test_file_is_refused(winner: Winner) -> None:
    task = read_json(winner.run / "best" / "task.json")
    winner.edit("task.json", sources=[task["sources"][0] | {"path": task["test"]}])
    winner.replay().complains(2, "is the task's test split")


def test_a_recipe_with_a_chat_model_needs_its_answers_alone(winner: Winner, tmp_path: Path) -> None:
    best, chat = winner.run / "best", ToyModel(lambda asked, number: "billing" if "refund" in asked else "")
    step = {"op": "generate", "model": "llm", "prompt": "{text}", "into": "team"}
    winner.edit("recipe.yaml", steps=[step])
    winner.edit("plan.yaml", llm=chat.identity, step=1)
    task = Task.model_validate(read_json(best / "task.json"))
    built = build(
        DataRecipe.model_validate(read_yaml(best / "recipe.yaml")),
        task,
        tmp_path / "sets",
        models=ModelAccess(task, tmp_path / "answers", open_llm=lambda: chat),
    )
    winner.replay().complains(1, "an answer of the run's chat model is neither in best/answers.jsonl nor in")
    export_answers([built.folder, built.folder], best)
    said = winner.replay()
    assert said.code == 0 and ANOTHER in said.out, said
    (best / "answers.jsonl").write_text("[]\n")
    winner.replay().complains(2, "answers.jsonl is damaged")


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("plan.yaml", {"seed": 7}),
        ("plan.yaml", {"grader_threads": 3}),
        ("recipe.yaml", {"rows": 80}),
        ("task.json", {"requirement": "Route tickets at random."}),
        ("task.json", {"prompt": {"user": "{text}\nTeam?", "answer": "{team}"}}),
    ],
    ids=["seed", "threads", "recipe", "requirement", "prompt"],
)
def test_an_edited_document_is_named(winner: Winner, name: str, fields: Row) -> None:
    winner.edit(name, **fields)
    if name == "recipe.yaml":  # fewer rows give fewer steps
        winner.edit("plan.yaml", step=1)
    said = winner.replay()
    assert said.code == 0 and f"{name} differs from the run's" in said.out, said
    assert "environment" not in said.out and "code" not in said.out
    weights = name == "recipe.yaml" or fields.keys() & {"seed", "prompt"}
    assert (ANOTHER if weights else SAME) in said.out


def test_a_plan_with_another_learning_rate(winner: Winner) -> None:
    training = read_yaml(winner.run / "best" / "plan.yaml")["training"]
    training["stages"][0]["learning_rate"] *= 2
    winner.edit("plan.yaml", training=training)
    said = winner.replay()
    assert ANOTHER in said.out and "plan.yaml differs from the run's" in said.out, said


@pytest.mark.parametrize("sealed_again", [False, True])
def test_a_source_with_other_rows(winner: Winner, tmp_path: Path, sealed_again: bool) -> None:
    """Also one whose file was edited, so that no document of best/ was."""
    task = read_json(winner.run / "best" / "task.json")
    path = tmp_path / "train.jsonl"
    rows = list(read_jsonl(Path(task["sources"][0]["path"])))
    write_jsonl(path, [row | {"text": row["text"] + "."} for row in rows])
    winner.edit("task.json", sources=[task["sources"][0] | {"path": str(path)}])
    if sealed_again:
        (winner.run / "best" / "manifest.json").unlink()
    said = winner.replay()
    assert ANOTHER in said.out and "source 'train' differs from the run's" in said.out, said
    assert ("task.json differs" in said.out) is not sealed_again
    assert ("manifest.json is missing" in said.out) is sealed_again


def test_other_dev_items_are_named(winner: Winner, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "dev.jsonl", tickets(40, 5000))
    winner.edit("task.json", dev=str(tmp_path / "dev.jsonl"))
    said = winner.replay()
    assert said.code == 0 and "scored otherwise than in the run: dev differ" in said.out, said


@pytest.mark.parametrize(
    ("name", "fields", "words"),
    [
        ("recipe.yaml", {"rows": 20}, ["20 rows give", "ended at step", "recipe.yaml differs"]),
        ("plan.yaml", {"step": 10**6}, ["ended at step 1000000", "plan.yaml differs"]),
        ("plan.yaml", {"step": 0}, ["damaged", "step"]),
        ("plan.yaml", {"seed": -1}, ["damaged", "seed"]),
        ("plan.yaml", {"engine": "vlm"}, ["no inference engine 'vlm'"]),
        ("recipe.yaml", {"streams": [{"source": "nowhere"}]}, ["no source named 'nowhere'"]),
    ],
    ids=["fewer rows", "more steps", "no step", "negative seed", "unknown engine", "unknown source"],
)
def test_what_cannot_be_trained_is_one_line(winner: Winner, name: str, fields: Row, words: list[str]) -> None:
    winner.edit(name, **fields)
    said = winner.replay()
    said.complains(said.code, *words)
    assert said.code in (1, 2)


def test_a_damaged_document_is_one_line(winner: Winner) -> None:
    for name in ("plan.yaml", "recipe.yaml", "task.json"):
        path = winner.run / "best" / name
        whole = path.read_bytes()
        for damage in (b"[]", b"7", b"\x00", b"{", b"\xff\xfe"):
            path.write_bytes(damage)
            winner.replay().complains(2, "best")
        path.write_bytes(whole)
