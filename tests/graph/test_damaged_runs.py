"""A run directory damaged at random: what is asked of it gives a value or one clear line, no traceback and no hang.

TREX_FUZZ_DAMAGES sets how many damaged directories are tried (10), TREX_FUZZ_SEED the seed (0).
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from rich.console import Console
from support.cli import on_the_torch_free_runtime
from support.damage import damage, linked_copy
from support.finished import replays_without_torch
from trex import Run, load_run, resume
from trex.errors import TrexError
from trex.files import read_json, write_json
from trex.graph.cli.outcome import print_summary
from trex.graph.finish.replay import replay
from trex.graph.store.projection import connect_readonly
from trex.graph.tree.tree import Tree
from trex.landlock import NOT_CONFINED
from trex.training.runners.job_runner import JobRunner

COUNT = int(os.environ.get("TREX_FUZZ_DAMAGES", "10"))
SEED = os.environ.get("TREX_FUZZ_SEED", "0")
PATIENCE_S = 60
LONGEST_LINE = 600


@contextmanager
def patience() -> Iterator[None]:
    """Raises TimeoutError where the test would wait without end."""

    def end(number: int, frame: FrameType | None) -> None:
        raise TimeoutError("it waits without end")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(PATIENCE_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def show(run: Path) -> None:
    with (run.parent / "out").open("w", encoding="utf-8") as file:
        summary = load_run(run).summary
        print_summary(Console(file=file), summary)
        file.write(summary.model_dump_json(indent=2))


def report(run: Path) -> None:
    load_run(run).write_report()


def look(run: Path) -> None:
    opened = load_run(run)
    assert isinstance(opened.tree, Tree)
    assert opened.best is None or opened.best.dev_interval.n > 0
    assert len(opened.experiments) >= 0


def go_on(run: Path) -> None:
    resume(run)


def replay_without_training(run: Path) -> None:
    workspace = run.parent / "workspace"
    shutil.rmtree(workspace, ignore_errors=True)
    workspace.mkdir()
    replay(run / "best", workspace, lambda job: None)


def served(source: Path, target: Path) -> Path:
    """A copy of the run as a LangGraph server leaves it: its tree is a JSON document."""
    run = linked_copy(source, target)
    tree = {node.id: node.model_dump(mode="json") for node in load_run(source).tree}
    write_json(run / "tree.json", tree)
    info = read_json(run / "run.json")
    info["settings"]["checkpoint"] = "server"
    write_json(run / "run.json", info)
    return run


def outcome(way: Callable[[Path], None], run: Path) -> str:
    """'value', or 'line' for one clear line. Raises what else comes."""
    try:
        with patience():
            way(run)
    except TrexError as error:
        text = str(error)
        assert text.strip() and "\n" not in text and len(text) < LONGEST_LINE, text
        return "line"
    return "value"


@pytest.fixture(scope="module")
def originals(finished: Run, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return [finished.directory, served(finished.directory, tmp_path_factory.mktemp("served") / "run")]


def no_file(path: Path) -> None:
    path.unlink(missing_ok=True)


def a_folder(path: Path) -> None:
    no_file(path)
    path.mkdir()


def a_fifo(path: Path) -> None:
    no_file(path)
    os.mkfifo(path)


def holding(content: bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        no_file(path)
        path.write_bytes(content)

    return write


def a_choice_that_is_no_text(path: Path) -> None:
    task = read_json(path)
    no_file(path)
    path.write_text(json.dumps(task | {"choices": ["\ud800", "b"]}))


LINES: list[tuple[str, Callable[[Path], None], Callable[[Path], None], str]] = [
    ("lock", a_folder, show, "lock is damaged (Is a directory): remove it"),
    ("lock", a_fifo, show, "lock is damaged"),
    ("clock.json", holding(b'{"active_seconds": "\\ud800"}'), show, "clock.json is damaged (active_seconds"),
    ("clock.json", holding(b"[" * 100_000), show, "clock.json is damaged (nested too deeply)"),
    ("failure.json", holding(b"7"), show, "failure.json is damaged (its structure is wrong)"),
    ("hints.jsonl", a_fifo, report, "hints.jsonl is damaged (not a regular file)"),
    (
        "run.json",
        holding(b'{"schema_version": 2, "settings": 7}'),
        show,
        "run.json is damaged (its structure",
    ),
    ("task.json", holding(b"\xff"), show, "task.json is damaged ('utf-8' codec"),
    ("finish.json", holding(b"null"), show, "finish.json is damaged (its structure is wrong)"),
    ("research.json", a_folder, report, "research.json is damaged (not a regular file)"),
    ("report.html", a_folder, report, "report.html is a directory: remove it"),
    ("checkpoints.sqlite", a_fifo, show, "checkpoints.sqlite cannot be opened"),
    ("checkpoints.sqlite", no_file, report, "has lost its tree"),
    ("experiments.duckdb", a_fifo, report, "experiments.duckdb is no regular file"),
    ("experiments.duckdb", a_folder, report, "experiments.duckdb is no regular file"),
    ("best/plan.yaml", holding(b"\0"), replay_without_training, "plan.yaml: not valid YAML (unacceptable"),
    (
        "best/task.json",
        a_choice_that_is_no_text,
        replay_without_training,
        "task.json is damaged (Error serializing",
    ),
    ("best/grader.json", holding(b"7"), replay_without_training, "grader.json is damaged (its structure"),
]


@pytest.mark.usefixtures("fresh_home", "without_training")
@pytest.mark.parametrize(("name", "break_it", "way", "words"), LINES)
def test_the_damaged_file_is_named(
    finished: Run,
    tmp_path: Path,
    name: str,
    break_it: Callable[[Path], None],
    way: Callable[[Path], None],
    words: str,
) -> None:
    run = linked_copy(finished.directory, tmp_path / "run")
    break_it(run / name)
    with patience(), pytest.raises(TrexError) as caught:
        way(run)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_what_a_report_writes_anew_is_replaced(finished: Run, tmp_path: Path) -> None:
    run = linked_copy(finished.directory, tmp_path / "run")
    store = run / "experiments.duckdb"
    content = bytearray(store.read_bytes())
    content[12288 + 100 : 12288 + 200] = bytes(100)
    holding(bytes(content))(store)
    with pytest.raises(TrexError, match="`trex report` writes it"):
        connect_readonly(store)
    look(run)
    report(run)
    connect_readonly(store).close()


def test_a_result_that_is_no_file_confines_nothing(finished: Run, tmp_path: Path) -> None:
    run = linked_copy(finished.directory, tmp_path / "run")
    a_fifo(next(run.glob("trials/*/rungs/0/result.json")))
    with patience():
        summary = load_run(run).summary
    assert summary.confinement == NOT_CONFINED
    assert any("another confinement" in fault for fault in summary.faults)


@pytest.fixture
def without_training(finished: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs go on without torch, and a replay ends where its training would begin."""

    def no_training(*_: Any) -> None:
        raise TrexError("it would train now")

    on_the_torch_free_runtime(monkeypatch, step_seconds=0.001)
    replays_without_torch(monkeypatch, finished)
    monkeypatch.setattr(JobRunner, "run", no_training)


@pytest.mark.usefixtures("fresh_home", "without_training")
def test_a_damaged_run_gives_a_value_or_one_line(originals: list[Path], tmp_path: Path) -> None:
    outcomes: Counter[str] = Counter()
    for number in range(COUNT):
        chance = random.Random(f"{SEED}/{number}")
        run = linked_copy(chance.choice(originals), tmp_path / "run")
        damages = [damage(run, chance) for _ in range(chance.choice([1, 1, 2, 3]))]
        ways = [show, chance.choice([report, look, go_on])]
        if any(text.startswith("best/") for text in damages):
            ways.append(replay_without_training)
        for way in ways:
            try:
                outcomes[outcome(way, run)] += 1
            except BaseException as error:
                error.add_note(f"damage {number}, {way.__name__}: {'; '.join(damages)}")
                raise
        shutil.rmtree(run)
    assert outcomes["value"] and outcomes["line"], outcomes
