"""A user's own task: as YAML with splits or one file to cut, as a `Task`, from every kind of file."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from support.cli import caller, on_the_torch_free_runtime
from support.kill import tree_of
from support.own_task import fields, tickets, write_csv, write_parquet, write_task
from trex import Run, Task, load_run, run
from trex.evaluation.splits import content_id, dev_items
from trex.evaluation.task import Prompt, Source
from trex.evaluation.task_file import load_task
from trex.files import read_json, read_jsonl, write_jsonl, write_yaml

OWN_METRIC = '''
class FirstLetter:
    """Right if the first letter is."""

    name = "first_letter"

    def score_items(self, items, predictions):
        return [float(p[:1] == item["team"][:1]) for item, p in zip(items, predictions)]

    def aggregate(self, rows):
        return sum(rows) / len(rows)

    def secondary(self, items, predictions):
        return {"length": sum(map(len, predictions)) / len(predictions)}
'''


@pytest.fixture(autouse=True)
def torch_free(fresh_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_the_torch_free_runtime(monkeypatch)


def short(task: str | Path | Task, out: Path) -> Run:
    return run(task, out=out, smoke=True, rounds=1, trials=2)


def check(done: Run, rows: int = 90) -> None:
    root, first = list(done.tree)
    assert (root.status, first.status) == ("done", "done"), first.failure
    assert done.best is not None and done.best.test is not None and done.best.test.n > 0
    assert first.dataset is not None and 0 < first.dataset.rows <= rows


def test_a_task_file_with_its_splits(tmp_path: Path) -> None:
    done = short(write_task(tmp_path), tmp_path / "run")
    check(done)
    assert done.settings.task == str(tmp_path / "tickets.yaml")
    first = done.tree["e001"]
    assert first.dataset is not None and "billing" in first.dataset.summary
    predictions = {row["prediction"] for row in read_jsonl(next((tmp_path / "run/predictions").iterdir()))}
    assert predictions <= {"billing", "network", "accounts"}, "an answer is one of the choices"
    best = done.best
    (tmp_path / "run").rename(tmp_path / "elsewhere")
    moved = load_run(tmp_path / "elsewhere")
    assert moved.best == best and moved.summary.directory == str(tmp_path / "elsewhere")
    assert moved.write_report()[0].parent == tmp_path / "elsewhere"


def test_the_command_in_the_summary_starts_the_same_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "with a space"
    folder.mkdir()
    task = load_task(write_task(folder))
    done = run(task, out=tmp_path / "run", smoke=True, rounds=0)
    monkeypatch.chdir("/")
    program, *words = shlex.split(done.summary.command)
    assert program == "trex"
    assert caller(monkeypatch, capfd)(*words, "--out", tmp_path / "again").code == 0
    assert tree_of(tmp_path / "again") == tree_of(done.directory)
    assert load_run(tmp_path / "again").settings.trials == done.settings.trials


def test_one_file_is_cut_by_content(tmp_path: Path) -> None:
    rows = tickets(150)
    write_jsonl(tmp_path / "all.jsonl", rows)
    path = tmp_path / "tickets.yaml"
    write_yaml(path, fields(sources=None, dev=None, test=None, data="all.jsonl"))
    task = load_task(path)
    parts = [_ids(Path(task.sources[0].path)), _ids(task.dev), _ids(task.test)]
    assert sum(map(len, parts)) == 150 == len(set.union(*parts))
    assert 0.55 < len(parts[0]) / 150 < 0.85
    write_jsonl(tmp_path / "all.jsonl", rows[::-1])
    again = load_task(path)
    assert [_ids(Path(again.sources[0].path)), _ids(again.dev), _ids(again.test)] == parts
    check(short(path, tmp_path / "run"), rows=150)


def _ids(path: Path) -> set[str]:
    return {content_id(row) for row in read_jsonl(path)}


def test_a_task_in_python_and_without_choices(tmp_path: Path) -> None:
    write_task(tmp_path)
    task = Task(
        name="tickets",
        requirement="Route support tickets.",
        base_model="tiny",
        sources=[Source(name="train", path=str(tmp_path / "train.jsonl"))],
        dev=tmp_path / "dev.jsonl",
        test=tmp_path / "test.jsonl",
        prompt=Prompt(user="{text}", answer="{team}"),
        answer_column="team",
    )
    done = short(task, tmp_path / "run")
    check(done)
    assert done.best is not None and done.best.scoring == "generation"
    assert read_json(tmp_path / "run" / "task.json")["requirement"] == "Route support tickets."


def test_other_kinds_of_files(tmp_path: Path) -> None:
    write_csv(tmp_path / "old.csv", tickets(45))
    write_parquet(tmp_path / "new.parquet", tickets(45, 45))
    sources = [{"name": "old", "path": "old.csv"}, {"name": "new", "path": "new.parquet"}]
    done = short(write_task(tmp_path, sources=sources), tmp_path / "run")
    check(done)
    first = done.tree["e001"]
    assert first.dataset is not None and "old 4" in first.dataset.summary and "new 4" in first.dataset.summary


@pytest.mark.parametrize("name", ["all.csv", "all.parquet", "all.json", "all.jsonl.gz"])
def test_every_format_can_be_cut(tmp_path: Path, name: str) -> None:
    frame = pd.DataFrame(tickets(150))
    match Path(name).suffix:
        case ".csv":
            frame.to_csv(tmp_path / name, sep=";", encoding="latin-1")
        case ".parquet":
            frame.to_parquet(tmp_path / name)
        case ".json":
            frame.to_json(tmp_path / name, orient="records")
        case _:
            frame.to_json(tmp_path / name, orient="records", lines=True)
    task = load_task(write_task(tmp_path, sources=None, dev=None, test=None, data=name))
    assert len(dev_items(task)) > 5 and set(dev_items(task)[0].row) == set(tickets(1)[0])


def test_a_metric_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(OWN_METRIC)
    path = write_task(tmp_path, metric="mine.py:FirstLetter")
    done = run(path, out=tmp_path / "run", smoke=True, rounds=0)
    root = done.tree.root
    assert root.score is not None and root.score.name == "first_letter"
    assert root.secondary["length"] > 5


def test_the_page_of_the_own_task_is_true(tmp_path: Path) -> None:
    """The example at the top of `task_file` works as it stands."""
    import trex.evaluation.task_file as page

    assert page.__doc__ is not None
    example = page.__doc__.split("\n\n", 1)[1].replace("\\\\n", "\\n")
    write_jsonl(tmp_path / "tickets.jsonl", tickets(150))
    (tmp_path / "tickets.yaml").write_text(example)
    task = load_task(tmp_path / "tickets.yaml")
    assert task.prompt.user == "Ticket: {text}\nTeam:" and task.choices == ["billing", "network", "accounts"]


def test_loading_a_task_needs_no_torch(tmp_path: Path) -> None:
    write_task(tmp_path)
    code = (
        "import sys; from pathlib import Path; from trex.graph.run.task_lookup import find_task\n"
        f"find_task({str(tmp_path / 'tickets.yaml')!r})\n"
        "print([m for m in ('torch', 'transformers', 'datasets') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
