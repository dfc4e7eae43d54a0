"""Building: errors that name the step, and a data set that is whole or not there."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from support.recipes import LABEL, MakeTask, recipe, reviews, task_in
from trex.errors import InputError, IntegrityError, PlanError, TrexError
from trex.evaluation.task import Prompt, Source
from trex.files import read_json, read_jsonl
from trex.sealed_folder import is_sealed
from trex.training.data import build as build_module
from trex.training.data import recipe_execution
from trex.training.data.build import BuiltDataset, build, preview, recipe_fingerprint, without_rows
from trex.training.data.operators.balance import Balance
from trex.training.data.operators.clean import Clean
from trex.training.data.operators.compute import Compute
from trex.training.data.operators.dedup import Dedup
from trex.training.data.operators.explode import Explode
from trex.training.data.operators.filter import Filter
from trex.training.data.operators.rename import Rename
from trex.training.data.operators.sample import Sample
from trex.training.data.operators.shuffle import Shuffle
from trex.training.data.operators.threshold import Threshold
from trex.training.data.operators.where import Where
from trex.training.data.recipe import DataRecipe, Step, Stream
from trex.training.data.recipe_execution import EmptyDataset
from trex.training.data.recipe_file import recipe_from_yaml, recipe_to_yaml
from trex.training.data.row_table import KEY
from trex.training.data.sources import load


@pytest.fixture
def make_task(tmp_path: Path) -> MakeTask:
    return task_in(tmp_path)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (
            (Shuffle(), Threshold(column="ratng")),
            "streams[0].steps[1] threshold: no column 'ratng'; the rows have: id, rating, text",
        ),
        (
            (Threshold(column="text"),),
            "streams[0].steps[0] threshold: column 'text' contains values like '0 ",
        ),
        (
            (Filter(column="rating", min_words=1),),
            "streams[0].steps[0] filter: column 'rating' contains values like",
        ),
        ((Rename(columns={"text": "id"}),), "streams[0].steps[0] rename: two columns would be named 'id'"),
        (
            (),
            "the prompt needs 'label', but the rows have: id, rating, text; add a threshold step that makes",
        ),
        (
            (Filter(column="id", equals="one"),),
            "empty after streams[0].steps[0] filter: it removed all 60 rows",
        ),
    ],
)
def test_an_error_names_the_step_and_the_correction(
    make_task: MakeTask, tmp_path: Path, steps: tuple[Step, ...], message: str
) -> None:
    task = make_task(movies=reviews(60))
    for attempt in (
        lambda: preview(recipe(*steps), task),
        lambda: build(recipe(*steps), task, tmp_path / "out"),
    ):
        with pytest.raises(PlanError, match=re.escape(message)):
            attempt()
    assert list((tmp_path / "out").iterdir()) == [tmp_path / "out" / ".lock"]


def test_common_steps_and_unknown_sources_are_named_too(make_task: MakeTask) -> None:
    task = make_task(movies=reviews(20), shops=reviews(20, 1))
    with pytest.raises(PlanError, match=r"^steps\[0\] balance: no column 'label'"):
        preview(recipe(steps=(Balance(column="label"),)), task)
    with pytest.raises(
        PlanError, match=r"^streams\[1\]: no source named 'web'; the task allows: movies, shops"
    ):
        preview(DataRecipe(streams=(Stream(source="movies"), Stream(source="web"))), task)
    with pytest.raises(
        PlanError,
        match=r"20 no answer \(e.g. shops: label empty\); add a threshold",
    ):
        preview(DataRecipe(streams=(Stream(source="movies", steps=(LABEL,)), Stream(source="shops"))), task)


def test_an_empty_data_set_has_a_cause_and_a_step(make_task: MakeTask) -> None:
    task = make_task(movies=reviews(20))
    with pytest.raises(EmptyDataset) as caught:
        preview(recipe(LABEL, Filter(column="rating", at_least=9), Shuffle()), task)
    assert (caught.value.cause, caught.value.step) == ("empty", "streams[0].steps[1] filter")
    with pytest.raises(EmptyDataset, match=r"empty after steps\[0\] filter"):
        preview(recipe(LABEL, steps=(Filter(column="rating", at_least=9),)), task)


def test_an_empty_answer_and_too_many_rows_are_refused(
    make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="1 of 1 rows cannot be used: 1 no answer"):
        preview(recipe(), make_task(movies=[{"text": "x", "label": " "}]))
    monkeypatch.setattr(recipe_execution, "MAX_ROWS", 5)
    with pytest.raises(PlanError, match=r"keeps 6 rows, 5 are allowed: set `rows` or add a sample"):
        preview(recipe(), make_task(movies=[{"text": f"x{i}", "label": "good"} for i in range(6)]))


def test_a_built_data_set_is_what_trl_reads(make_task: MakeTask, tmp_path: Path) -> None:
    rows = [*reviews(60), {**reviews(1)[0], "id": 99}]
    built = build(
        recipe(Dedup(columns=("text",)), LABEL, Balance(column="label", max_ratio=1)),
        make_task(movies=rows),
        tmp_path / "o",
    )
    first = next(read_jsonl(built.folder / "train.jsonl"))
    assert set(first) == {"prompt", "completion", "source", "stream"}
    assert first["prompt"] == [
        {"role": "user", "content": f"Positive or negative?\n{first['source']['text']}"}
    ]
    assert first["completion"] == [{"role": "assistant", "content": first["source"]["label"]}]
    assert set(first["source"]) == {"id", "rating", "text", "label"} and first["stream"] == "movies"
    contents = built.report.contents
    assert contents.answers["positive"] == contents.answers["negative"] == built.rows / 2
    assert built.report.duplicates_dropped == 1 and contents.repeated == 0
    assert built.steps[:2] == ["movies: load → 61", "movies: dedup → 60"]
    assert built.summary.startswith(
        f"{built.rows} rows from movies {built.rows}; 'negative' {built.rows // 2}"
    )
    assert recipe_from_yaml((built.folder / "recipe.yaml").read_text()).streams[0].steps[1] == LABEL
    assert BuiltDataset.open(built.folder) == built


def test_a_preview_shows_the_same_rows_and_writes_nothing(make_task: MakeTask, tmp_path: Path) -> None:
    task, plan = make_task(movies=reviews(60)), recipe(LABEL, Shuffle(seed=4), rows=20)
    before = sorted(tmp_path.rglob("*"))
    seen = preview(plan, task)
    assert sorted(tmp_path.rglob("*")) == before
    built = build(plan, task, tmp_path / "out")
    assert seen.rows == list(read_jsonl(built.folder / "train.jsonl"))
    assert seen.report == built.report


def test_the_fingerprint_changes_with_what_matters_only(make_task: MakeTask, tmp_path: Path) -> None:
    task = make_task(movies=reviews(60), shops=reviews(30, 1))
    known = recipe_fingerprint(recipe(LABEL), task)
    same_content = tmp_path / "moved.jsonl"
    same_content.write_bytes((tmp_path / "movies.jsonl").read_bytes())
    moved = task.model_copy(update={"sources": [Source(name="movies", path=str(same_content))]})
    assert recipe_fingerprint(recipe(LABEL), moved) == known
    assert recipe_fingerprint(recipe_from_yaml(recipe_to_yaml(recipe(LABEL))), task) == known
    others = [
        recipe_fingerprint(recipe(LABEL, Shuffle()), task),
        recipe_fingerprint(recipe(LABEL.model_copy(update={"above": 1.0})), task),
        recipe_fingerprint(recipe(LABEL, rows=10), task),
        recipe_fingerprint(recipe(LABEL), make_task(movies=reviews(61))),
        recipe_fingerprint(
            recipe(LABEL), task.model_copy(update={"prompt": Prompt(user="{text}", answer="{label}")})
        ),
    ]
    assert len({known, *others}) == 6


def test_another_process_builds_the_same_bytes(make_task: MakeTask, tmp_path: Path) -> None:
    task = make_task(movies=reviews(200), shops=reviews(90, 1))
    plan = DataRecipe(
        streams=(Stream(source="movies", steps=(LABEL,), weight=2), Stream(source="shops", steps=(LABEL,))),
        rows=60,
        steps=(Balance(column="label"), Sample(n=30), Shuffle(seed=2)),
    )
    built = build(plan, task, tmp_path / "here")
    (tmp_path / "task.json").write_text(task.model_dump_json())
    (tmp_path / "plan.yaml").write_text(recipe_to_yaml(plan))
    code = (
        "import sys; from pathlib import Path; from trex.evaluation.task import Task\n"
        "from trex.training.data.build import build\nfrom trex.training.data.recipe_file import *\n"
        "root = Path(sys.argv[1])\n"
        "task = Task.model_validate_json((root / 'task.json').read_text())\n"
        "print(build(recipe_from_yaml((root / 'plan.yaml').read_text()), task, root / 'there').fingerprint)"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == built.fingerprint
    for name in ("train.jsonl", "recipe.yaml", "report.json", "manifest.json"):
        assert (tmp_path / "there" / built.fingerprint / name).read_bytes() == (
            built.folder / name
        ).read_bytes()


def test_a_built_data_set_is_taken_from_the_store(
    make_task: MakeTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, shared = make_task(movies=reviews(60)), tmp_path / "store"
    first = build(recipe(LABEL), task, tmp_path / "a", shared)
    monkeypatch.setattr(recipe_execution, "read_source", lambda *_: pytest.fail("built again"))
    again = build(recipe(LABEL), task, tmp_path / "a", shared)
    taken = build(recipe(LABEL), task, tmp_path / "b", shared)
    assert again == first and taken.report == first.report
    assert (taken.folder / "train.jsonl").read_bytes() == (first.folder / "train.jsonl").read_bytes()
    (taken.folder / "train.jsonl").write_text("edited")
    assert BuiltDataset.open(shared / first.fingerprint).report == first.report


@pytest.mark.parametrize("harm", ["edit", "remove a file", "remove the manifest", "cut the manifest"])
def test_a_damaged_data_set_is_built_again(make_task: MakeTask, tmp_path: Path, harm: str) -> None:
    task, shared = make_task(movies=reviews(60)), tmp_path / "store"
    built = build(recipe(LABEL), task, tmp_path / "out", shared)
    good = (built.folder / "train.jsonl").read_bytes()
    for folder in (built.folder, shared / built.fingerprint):
        if harm == "edit":
            (folder / "train.jsonl").write_bytes(good.replace(b"positive", b"negative", 1))
        elif harm == "remove a file":
            (folder / "report.json").unlink()
        elif harm == "remove the manifest":
            (folder / "manifest.json").unlink()
        else:
            (folder / "manifest.json").write_text("{")
        with pytest.raises(IntegrityError, match="no intact data set"):
            BuiltDataset.open(folder)
    assert build(recipe(LABEL), task, tmp_path / "out", shared) == built
    for folder in (built.folder, shared / built.fingerprint):
        assert (BuiltDataset.open(folder).folder / "train.jsonl").read_bytes() == good


@pytest.mark.parametrize("file", ["train.jsonl", "recipe.yaml", "report.json", "manifest.json"])
def test_an_interrupted_build_leaves_nothing(
    make_task: MakeTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    task = make_task(movies=reviews(60))
    replace = Path.replace

    def stop(self: Path, target: Path) -> Path:
        if Path(target).name == file:
            raise KeyboardInterrupt
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", stop)
        with pytest.raises(KeyboardInterrupt):
            build(recipe(LABEL), task, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".lock"]
    assert build(recipe(LABEL), task, tmp_path / "out").rows > 0


def test_a_killed_build_leaves_no_half_folder(make_task: MakeTask, tmp_path: Path) -> None:
    task = make_task(movies=reviews(3000))
    (tmp_path / "task.json").write_text(task.model_dump_json())
    code = (
        "import sys; from pathlib import Path; from trex.evaluation.task import Task\n"
        "from trex.training.data.build import build; from trex.training.data.recipe import *\n"
        "from trex.training.data.operators.shuffle import Shuffle\n"
        "from trex.training.data.operators.threshold import Threshold\n"
        "root = Path(sys.argv[1]); task = Task.model_validate_json((root / 'task.json').read_text())\n"
        "steps = lambda n: (Threshold(column='rating'), Shuffle(seed=n))\n"
        "for n in range(10000):\n"
        "    recipe = DataRecipe(streams=(Stream(source='movies', steps=steps(n)),))\n"
        "    build(recipe, task, root / 'out', root / 'store')\n"
        "    print(n, flush=True)"
    )
    for pause in (0.03, 0.11):
        child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
        assert child.stdout is not None and child.stdout.readline()
        time.sleep(pause)
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
    for root in (tmp_path / "out", tmp_path / "store"):
        built = [path for path in root.iterdir() if not path.name.startswith(".")]
        assert built and all(is_sealed(path, fingerprint=path.name) for path in built)


def test_files_of_a_killed_build_are_removed(make_task: MakeTask, tmp_path: Path) -> None:
    task, out = make_task(movies=reviews(60)), tmp_path / "out"
    name = recipe_fingerprint(recipe(LABEL), task)
    (out / f".building-{name}").mkdir(parents=True)
    (out / f".building-{name}" / "train.jsonl").write_text("half a li")
    build(recipe(LABEL), task, out)
    assert sorted(path.name for path in out.iterdir()) == [".lock", name]


def test_builders_at_the_same_time_make_one_data_set(make_task: MakeTask, tmp_path: Path) -> None:
    task, made = make_task(movies=reviews(60)), []
    threads = [
        threading.Thread(
            target=lambda: made.append(build(recipe(LABEL), task, tmp_path / "out", tmp_path / "store"))
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 4 and len({built.fingerprint for built in made}) == 1


def test_a_full_disk_is_one_clear_line_and_leaves_nothing(
    make_task: MakeTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(build_module, "write_jsonl", full)
    with pytest.raises(
        TrexError, match=r"cannot write the data set to .*out: No space left on device; free space"
    ):
        build(recipe(LABEL), make_task(movies=reviews(60)), tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".lock"]


def test_a_folder_that_cannot_be_written_is_one_clear_line(make_task: MakeTask, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TrexError, match="cannot write the data set to"):
        build(recipe(LABEL), make_task(movies=reviews(60)), tmp_path / "file" / "out")


def test_the_data_room_is_light() -> None:
    code = (
        "import sys, trex.training.data.build, trex.training.preflight\n"
        "print([m for m in ('datasets', 'pyarrow', 'torch', 'transformers', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_manifest_is_written_last(make_task: MakeTask, tmp_path: Path) -> None:
    built = build(recipe(LABEL), make_task(movies=reviews(20)), tmp_path / "out")
    manifest = read_json(built.folder / "manifest.json")
    assert sorted(manifest["files"]) == [
        "lineage.jsonl",
        "recipe.yaml",
        "rendering.json",
        "report.json",
        "scoring.json",
        "train.jsonl",
    ]
    written = {path.name: path.stat().st_mtime_ns for path in built.folder.iterdir()}
    assert max(written, key=written.__getitem__) == "manifest.json"


def test_computed_rows_are_synthetic_and_dropped_rows_are_counted(
    make_task: MakeTask, tmp_path: Path
) -> None:
    program = Compute(columns={"label": "'low' if rating < 0 else 'high'", "half": "1 / (rating - 1)"})
    rows = [{"text": f"text {n}", "rating": float(n)} for n in range(-3, 4)]
    task = make_task(movies=rows, shops=[{"text": "a shop", "label": "high"}])
    streams = (Stream(source="movies", steps=(program,)), Stream(source="shops"))
    built = build(DataRecipe(streams=streams), task, tmp_path / "out")
    [step] = [step for step in built.report.steps if step.op == "compute"]
    assert (step.rows, step.dropped) == (6, {"no value": 1}) and "division by zero" in step.examples[
        "no value"
    ]
    assert built.report.contents.synthetic == 6 and "6 rows are computed" in built.summary
    written = read_jsonl(built.folder / "train.jsonl")
    assert [(row["stream"], row.get("synthetic", False)) for row in written].count(("shops", False)) == 1
    assert all("__" not in name for row in written for name in row["source"])


def by_hand(*answers: tuple[str, str]) -> DataRecipe:
    """A recipe that writes an answer for each row by a filter and a threshold."""
    return DataRecipe(
        streams=tuple(
            Stream(
                source="movies",
                steps=(
                    Filter(column="id", equals=number),
                    Threshold(column="rating", low=low, high=high, below=-0.5, above=-0.5),
                ),
            )
            for number, (low, high) in enumerate(answers)
        )
    )


def test_threshold_cannot_write_an_answer_for_each_row(make_task: MakeTask) -> None:
    task = make_task(movies=reviews(9))
    free = task.model_copy(update={"rating_column": None})
    with pytest.raises(
        PlanError, match=r"all labels of a recipe are the same: make answers .* by a compute step"
    ):
        preview(by_hand(("CCO", "CCO"), ("CCN", "CCN")), task)
    with pytest.raises(PlanError, match="threshold writes 'CCO' into 'label', but the task has no choices"):
        preview(by_hand(("CCO", "CCO")), free)
    chosen = task.model_copy(update={"choices": ["yes", "no"]})
    with pytest.raises(PlanError, match="answer not among the choices"):
        preview(by_hand(("CCO", "CCO"), ("CCN", "CCN")), chosen)
    assert preview(by_hand(("yes", "no"), ("yes", "no")), task).rows


def test_the_source_of_a_function_determines_the_data_set(
    make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make_task(movies=reviews(3))
    step = Compute(columns={"label": "upper(text)"})
    before, plain = recipe_fingerprint(recipe(step), task), recipe_fingerprint(recipe(LABEL), task)
    monkeypatch.setattr(Compute, "dependencies", lambda self: ["another version"])
    assert recipe_fingerprint(recipe(step), task) != before
    assert recipe_fingerprint(recipe(LABEL), task) == plain


def test_every_row_knows_its_source_row_and_the_steps_that_changed_it(
    make_task: MakeTask, tmp_path: Path
) -> None:
    steps = (
        Clean(columns=("text",)),
        Compute(columns={"label": "'low' if rating < 0 else 'high'"}),
        Explode(column="parts", into="part"),
        Shuffle(),
    )
    rows = [
        {"text": "one  space", "rating": 1.0, "parts": ["a", "b"]},
        {"text": "clean", "rating": -1.0, "parts": ["c"]},
        {"text": "none", "rating": 0.5, "parts": []},
    ]
    streams = (Stream(source="movies", steps=steps), Stream(source="shops"))
    task = make_task(movies=rows, shops=[{"text": "a shop", "label": "high"}])
    made = DataRecipe(
        streams=streams, steps=(Where(test="label == 'high'"), Rename(columns={"part": "piece"}))
    )
    built = build(made, task, tmp_path / "out")
    keys = {row["text"]: key for row, key in zip(rows, load(task, "movies")[KEY], strict=True)}
    lineage = list(read_jsonl(built.folder / "lineage.jsonl"))
    clean, compute, explode = (
        f"streams[0].steps[{n}] {op}" for n, op in enumerate(("clean", "compute", "explode"))
    )
    rename = "steps[1] rename"
    found = [(line["row"], line["steps"]) for line in lineage if line["stream"] == "movies"]
    assert found == [(keys["one  space"], [clean, compute, explode, rename])] * 2
    assert [line["steps"] for line in lineage if line["stream"] == "shops"] == [[rename]]
    counts = {step.where: step.dropped for step in built.report.steps if step.dropped}
    assert counts == {explode: {"no value": 1}, "steps[0] where": {"test is false": 1}}
    assert "movies: explode → 3 (1 no value)" in built.steps
    less = without_rows(built, [0])
    assert list(read_jsonl(less.folder / "lineage.jsonl")) == lineage[1:]
    assert less.report.steps[-1].dropped == {"remove repeats": 1}


def test_rows_and_reasons_add_up_after_every_step(make_task: MakeTask) -> None:
    rows = reviews(60)
    steps = (
        Filter(column="text", min_words=3, matches="good"),
        LABEL,
        Sample(n=20),
        Dedup(columns=("text",)),
    )
    report = preview(recipe(*steps, rows=5), make_task(movies=[*rows, *rows])).report
    for before, after in pairwise(report.steps):
        assert before.rows - after.rows == sum(after.dropped.values()), after
    assert report.steps[-1].rows == 5 and report.steps[-1].dropped["not in the mix"] > 0


class Forgetful(Shuffle):
    """Loses the builder's columns."""

    def run(self, rows: Any, context: Any) -> Any:
        return rows.select_columns(["text"])


def test_a_step_that_loses_the_columns_of_the_builder_is_refused(make_task: MakeTask) -> None:
    stream = Stream(source="movies", steps=(Shuffle(),)).model_copy(update={"steps": (Forgetful(),)})
    made = DataRecipe(streams=(stream,))
    with pytest.raises(PlanError, match=r"steps\[0\] shuffle: the operator does not keep the columns"):
        preview(made, make_task(movies=reviews(3)))
