"""The test split stays closed: whatever a recipe, a plan, a tool call or an edited plan says."""

from __future__ import annotations

import inspect
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from pydantic import ValidationError
from support import torch_free
from support.cli import launch, on_the_torch_free_runtime
from support.kill import processes_of
from support.own_task import fields, tickets, write_task
from trex import Run, load_run, run
from trex.errors import InputError, IntegrityError, PlanError
from trex.evaluation.grader import audit
from trex.evaluation.grader.client import GraderClient
from trex.evaluation.task import Task
from trex.evaluation.task_file import check_task, load_task
from trex.files import read_json, read_jsonl, write_jsonl
from trex.graph.run.directory import RunDirectory
from trex.graph.run.runtime import Runtime
from trex.training.data.recipe import DataRecipe
from trex.training.data.sources import check_sources
from trex.training.plan import TrainingPlan


@dataclass(frozen=True)
class Scene:
    """A finished run of an own task, and its runtime opened again."""

    run: Run
    runtime: Runtime

    @property
    def task(self) -> Task:
        return self.runtime.task


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("integrity")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TREX_HOME", str(folder / "home"))
        on_the_torch_free_runtime(patch)
        done = run(write_task(folder), out=folder / "run", smoke=True, rounds=1, trials=2)
        runtime = torch_free.open_runtime(done.settings)
        yield Scene(done, runtime)
        runtime.close()


def recipe_of(name: str) -> dict[str, Any]:
    return {"streams": [{"source": name}]}


def test_a_recipe_loads_only_what_the_task_lists(scene: Scene) -> None:
    prepare = scene.runtime.executor.prepare_data
    for name in ("test", "dev", "confirm", "evaluation"):
        with pytest.raises(PlanError, match=f"no source named '{name}'; the task allows: train"):
            prepare(DataRecipe.model_validate(recipe_of(name)))


@pytest.mark.parametrize(
    "name", ["{test}", "../test.jsonl", "file://{test}", "hub:owner/test", "train/../test", "Test"]
)
def test_a_recipe_cannot_name_a_path(scene: Scene, name: str) -> None:
    prepare = scene.runtime.executor.prepare_data
    with pytest.raises((PlanError, ValidationError)):
        prepare(DataRecipe.model_validate(recipe_of(name.format(test=scene.task.test))))
    with pytest.raises(ValidationError):
        DataRecipe.model_validate(recipe_of("train") | {"path": str(scene.task.test)})


def _itself(sealed: Path, place: Path) -> Path:
    return sealed


def _copy(sealed: Path, place: Path) -> Path:
    place.write_bytes(sealed.read_bytes())
    return place


def _symlink(sealed: Path, place: Path) -> Path:
    place.symlink_to(sealed)
    return place


def _hard_link(sealed: Path, place: Path) -> Path:
    place.hardlink_to(sealed)
    return place


@pytest.mark.parametrize("split", ["dev", "test"])
@pytest.mark.parametrize("way", [_itself, _copy, _symlink, _hard_link])
def test_a_source_that_is_a_held_out_file_is_refused(
    tmp_path: Path, fresh_home: Path, split: str, way: Callable[[Path, Path], Path]
) -> None:
    write_task(tmp_path)
    place = way(tmp_path / f"{split}.jsonl", tmp_path / "more.jsonl")
    task = Task.model_validate(
        fields(sources=[{"name": "more", "path": str(place)}])
        | {"dev": tmp_path / "dev.jsonl", "test": tmp_path / "test.jsonl"}
    )
    with pytest.raises(InputError, match=f"source 'more' is the task's {split} split"):
        check_sources(task)
    with pytest.raises(InputError, match=f"is the task's {split} split"):
        run(task, out=tmp_path / "run", smoke=True)
    assert not (tmp_path / "run").exists()


def test_the_executor_cannot_name_a_split(scene: Scene) -> None:
    evaluate = scene.runtime.executor.evaluate
    assert "split" not in inspect.signature(evaluate).parameters
    assert evaluate(None, None).split == evaluate(None, 3).split == "search"
    with pytest.raises(TypeError):
        evaluate(None, 3, "test")  # type: ignore[call-arg]


def test_a_training_cannot_read_a_held_out_folder(scene: Scene) -> None:
    held_out = os.path.relpath(scene.task.test.parent, scene.runtime.directory.datasets)
    with pytest.raises(IntegrityError, match="no intact data set"):
        scene.runtime.executor.train(TrainingPlan(), [held_out], 0)


def test_the_grader_gives_no_test_score_when_asked(scene: Scene) -> None:
    with pytest.raises(InputError, match="after the winner is sealed"):
        scene.runtime.grader.evaluate(None, "test")


def test_the_test_score_before_the_end_is_refused(scene: Scene, tmp_path: Path) -> None:
    """Through the runtime of a run that goes on: nobody but `finish` seals."""
    grader = scene.runtime.grader
    assert isinstance(grader, GraderClient)
    fresh = GraderClient(scene.task, tmp_path / "run", scene.run.directory / "model", command=grader._command)
    with fresh:
        with pytest.raises(IntegrityError, match="no winner is sealed"):
            fresh.score_test()
        assert audit.read(tmp_path / "run") == []
    assert not (tmp_path / "run" / "predictions").exists()


def test_after_the_end_another_winner_is_refused(scene: Scene) -> None:
    opened = [entry.what for entry in audit.read(scene.run.directory)]
    others = sorted(scene.run.directory.glob("trials/*/rungs/*/adapter"))
    frozen = read_json(scene.run.directory / "frozen.json")["winner"]
    other = next((path for path in others if str(path) != frozen), None)
    for winner in {other, None} - {Path(frozen) if frozen else None}:
        with pytest.raises(IntegrityError, match="already opened for another winner"):
            scene.runtime.grader.seal(winner)
    scene.runtime.grader.seal(Path(frozen) if frozen else None)
    again = scene.runtime.grader.score_test()
    assert again[0].score.n == 30
    assert [what for what in opened if what == "open_test"] == ["open_test"]


def test_the_intent_is_written_before_the_split_is_opened(scene: Scene) -> None:
    trail = audit.read(scene.run.directory)
    whats = [entry.what for entry in trail]
    assert whats.index("seal") < whats.index("open_test")
    opening = trail[whats.index("open_test")]
    scores = list((scene.run.directory / "predictions").glob("test-*"))
    assert scores and all(opening.time <= path.stat().st_mtime for path in scores)
    assert opening.detail["key"] == read_json(scene.run.directory / "frozen.json")["key"]


def test_no_test_item_is_anywhere_in_the_run(scene: Scene) -> None:
    texts = [row["text"].encode() for row in read_jsonl(scene.task.test)]
    allowed = [row["text"].encode() for row in read_jsonl(Path(scene.task.sources[0].path))]
    found = 0
    for path in scene.run.directory.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            found += sum(text in content for text in allowed)
            assert not any(text in content for text in texts), path
    assert found >= 80, "the search must be able to find something"
    for table in ("experiments", "trials", "metrics", "predictions", "spend"):
        assert "2003: my" not in scene.run.query(f"SELECT * FROM {table}").to_string()
    identities = {
        row["id"] for path in (scene.run.directory / "predictions").glob("test-*") for row in read_jsonl(path)
    }
    assert identities.isdisjoint(scene.run.query("SELECT item_id FROM predictions")["item_id"])


def test_an_edited_plan_reaches_no_more_than_another(
    tmp_path: Path, fresh_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_the_torch_free_runtime(monkeypatch)
    path = write_task(tmp_path)

    def greedy(question: dict[str, Any]) -> dict[str, Any]:
        plan = question["plan"] | {
            "recipes": {"main": DataRecipe.model_validate(recipe_of("test")).model_dump(mode="json")}
        }
        return {"decision": "edit", "plan": plan}

    done = run(path, out=tmp_path / "run", smoke=True, rounds=1, trials=2, approve=greedy)
    first = done.tree["e001"]
    assert first.status == "failed" and first.failure is not None
    assert "no source named 'test'" in first.failure


def test_rows_that_stand_in_dev_and_test_are_refused(
    tmp_path: Path, fresh_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_the_torch_free_runtime(monkeypatch)
    path = write_task(tmp_path)
    write_jsonl(tmp_path / "test.jsonl", [*tickets(10, 2000), next(read_jsonl(tmp_path / "dev.jsonl"))])
    check_task(load_task(path))  # the test file is the grader's to open
    with pytest.raises(InputError, match="are also in dev"):
        run(path, out=tmp_path / "run", smoke=True, rounds=1)
    assert load_run(tmp_path / "run").summary.status == "failed"


def test_what_a_run_was_begun_with_cannot_be_changed_under_it(
    tmp_path: Path, fresh_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_the_torch_free_runtime(monkeypatch)
    path = write_task(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run(path, out=tmp_path / "run", smoke=True, rounds=1, trials=2, approve=_away)
    write_jsonl(tmp_path / "dev.jsonl", tickets(40, 3000))
    directory = RunDirectory.open(tmp_path / "run")
    runtime = torch_free.open_runtime(directory.settings())
    with pytest.raises(IntegrityError, match="dev changed since this run began"):
        runtime.grader.evaluate(None, "search")
    runtime.close()


def _away(question: dict[str, Any]) -> dict[str, Any]:
    raise KeyboardInterrupt


def test_no_process_is_given_the_users_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "sk-0123456789-never-to-be-seen"
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, secret)
    out = tmp_path / "run"
    options = ("--smoke", "--rounds", "1", "--trials", "2", "--out", out)
    driver = launch(tmp_path, 0.1, "run", "sentiment", *options)
    kinds: set[str] = set()
    while driver.poll() is None:
        for process in processes_of(out) + _children(driver.pid):
            try:
                words, environment = " ".join(process.cmdline()), process.environ()
            except (psutil.Error, OSError):
                continue
            if "cli.py" not in words:  # the driver, and for an instant, before it becomes another, its child
                kinds |= {kind for kind in ("grader", "fake_worker") if kind in words}
                assert secret not in environment.values(), words
        time.sleep(0.02)
    assert driver.communicate(timeout=60)[1] == "" and driver.returncode == 0
    assert kinds == {"grader", "fake_worker"}
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path for path in files if secret.encode() in path.read_bytes()] == []


def _children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
