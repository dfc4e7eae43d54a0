"""Whatever a person gets wrong: the right exit code, one clear line, nothing half-written."""

from __future__ import annotations

import errno
import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from support import torch_free as torch_free_runtime
from support.cli import Said, Trex, caller, everything, on_the_torch_free_runtime
from support.own_task import tickets, write_task
from trex import load_run
from trex.evaluation.base_models import resolve_model
from trex.evaluation.splits import dev_items
from trex.evaluation.task_file import load_task
from trex.files import read_json, write_json, write_jsonl
from trex.graph.run import runtime as runtime_room


@pytest.fixture
def trex(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], fresh_home: Path) -> Trex:
    return caller(monkeypatch, capfd)


@pytest.fixture
def never_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is refused must be refused before a model is loaded."""

    def refuse(*_: object) -> None:
        raise AssertionError("the run began")

    monkeypatch.setattr(runtime_room, "resolve_model", refuse)


def refused(trex: Trex, out: Path, *words: str | Path) -> Said:
    """`trex run` with these words, which must leave no run directory."""
    said = trex("run", *words, "--smoke", "--out", out)
    assert not out.exists()
    return said


pytestmark = pytest.mark.usefixtures("never_begins")


def test_an_unknown_task(trex: Trex, tmp_path: Path) -> None:
    refused(trex, tmp_path / "run", "sentimental").complains(2, "'sentimental'", "sentiment", ".yaml")


def test_a_task_file_that_is_not_there(trex: Trex, tmp_path: Path) -> None:
    refused(trex, tmp_path / "run", tmp_path / "mine.yaml").complains(2, "mine.yaml", "no such task file")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: [tickets", ["mine.yaml:", "not valid YAML"]),
        ("name: tickets\n  prompt: x: y\n", ["mine.yaml:2", "not valid YAML"]),
        ("- a list", ["mine.yaml", "a task file is a mapping"]),
        ("", ["mine.yaml", "a task file is a mapping"]),
        ("name: tickets\nname: others\n", ["mine.yaml:2", "given twice"]),
        ("name: tickets\nfoo: 1\n", ["mine.yaml", "foo"]),
        ("name: tickets\nsources: 7\n", ["mine.yaml", "sources"]),
        ("\tname: x", ["mine.yaml:1", "not valid YAML"]),
    ],
)
def test_malformed_yaml(trex: Trex, tmp_path: Path, text: str, words: list[str]) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    refused(trex, tmp_path / "run", tmp_path / "mine.yaml").complains(2, *words)


def test_a_task_file_that_is_not_text(trex: Trex, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_bytes(b"\xff\xfe\x00name")
    refused(trex, tmp_path / "run", tmp_path / "mine.yaml").complains(2, "mine.yaml")


@pytest.mark.parametrize("empty", ["train", "dev", "test"])
def test_empty_data(trex: Trex, tmp_path: Path, empty: str) -> None:
    task = write_task(tmp_path)
    (tmp_path / f"{empty}.jsonl").write_text("")
    refused(trex, tmp_path / "run", task).complains(2, f"{empty}.jsonl", "is empty")


@pytest.mark.parametrize("missing", ["train", "dev", "test"])
def test_missing_data(trex: Trex, tmp_path: Path, missing: str) -> None:
    task = write_task(tmp_path)
    (tmp_path / f"{missing}.jsonl").unlink()
    refused(trex, tmp_path / "run", task).complains(2, f"{missing}.jsonl")


def test_a_missing_column_in_dev(trex: Trex, tmp_path: Path) -> None:
    task = write_task(tmp_path, prompt={"user": "{subject}: {text}", "answer": "{team}"})
    refused(trex, tmp_path / "run", task).complains(2, "dev.jsonl", "'subject'", "text")


def test_rows_of_dev_without_an_answer_are_left_out(trex: Trex, tmp_path: Path) -> None:
    task = write_task(tmp_path)
    write_jsonl(tmp_path / "dev.jsonl", [*tickets(5), {"text": "no team"}, {"text": "none", "team": None}])
    refused(trex, tmp_path / "run", task).complains(2, "2 of 7 rows", "dev.jsonl:6: team empty")
    write_jsonl(tmp_path / "dev.jsonl", [*tickets(40), {"text": "no team"}, {"text": "none", "team": None}])
    assert len(dev_items(load_task(task))) == 40


def test_a_missing_column_in_the_sources(trex: Trex, tmp_path: Path) -> None:
    task = write_task(tmp_path)
    write_jsonl(tmp_path / "train.jsonl", [{"body": "x"}, {"body": "y"}])
    refused(trex, tmp_path / "run", task).complains(2, "train", "team", "body")


def test_a_source_that_is_no_data(trex: Trex, tmp_path: Path) -> None:
    task = write_task(tmp_path)
    (tmp_path / "train.jsonl").write_text('{"text": "a", "team": "billing"}\n{"text": ')
    refused(trex, tmp_path / "run", task).complains(2, "train.jsonl:2: not JSON")


def test_an_answer_that_is_no_choice(trex: Trex, tmp_path: Path) -> None:
    task = write_task(tmp_path, choices=["billing", "network"])
    refused(trex, tmp_path / "run", task).complains(2, "dev.jsonl", "'accounts'", "billing, network")


@pytest.mark.parametrize("metric", ["accurasy", "no.such.module:Metric", "trex.errors:TrexError", "json:"])
def test_a_metric_that_is_none(trex: Trex, tmp_path: Path, metric: str) -> None:
    refused(trex, tmp_path / "run", write_task(tmp_path, metric=metric)).complains(2, f"metric {metric!r}")


def test_too_few_rows_to_split(trex: Trex, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "all.jsonl", tickets(2))
    task = write_task(tmp_path, sources=None, dev=None, test=None, data="all.jsonl")
    refused(trex, tmp_path / "run", task).complains(2, "rows")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--budget", "ten"], ["--budget 'ten'", "10m"]),
        (["--budget", "0s"], ["--budget '0s'"]),
        (["--budget", ""], ["--budget"]),
        (["--policy", "beam"], ["policy 'beam'", "mcts, gbfs, ses, random"]),
        (["--researcher", "nobody"], ["Researcher 'nobody'", "builtin, agent"]),
        (["--researcher", "agent"], ["--llm"]),
        (["--rounds", "-1"], ["rounds", "greater than or equal to 0"]),
        (["--trials", "0"], ["trials"]),
        (["--trials", "99"], ["trials"]),
        (["--seed", "-1"], ["seed"]),
        (["--keep", "none"], ["--keep 'none'"]),
        (["--rounds", "two"], ["'--rounds'", "integer"]),
        (["--speed", "9"], ["--speed"]),
    ],
)
def test_options_that_cannot_be(trex: Trex, tmp_path: Path, options: list[str], words: list[str]) -> None:
    refused(trex, tmp_path / "run", "sentiment", *options).complains(2, *words)


def test_words_that_are_missing(trex: Trex) -> None:
    trex("run").complains(2, "task")
    trex("resume").complains(2, "DIR", "trex --help")
    trex("fly").complains(2, "fly")


def test_a_parent_that_is_a_file(trex: Trex, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    refused(trex, tmp_path / "file" / "run", "sentiment").complains(2, "cannot be written", "--out")
    said = trex("run", "sentiment", "--smoke", "--out", tmp_path / "file")
    said.complains(2, "cannot be written", "--out")
    assert (tmp_path / "file").read_text() == "x"


def test_a_home_that_cannot_be_written(trex: Trex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("TREX_HOME", str(tmp_path / "file" / "home"))
    refused(trex, tmp_path / "run", "sentiment").complains(2, "TREX_HOME")


Mount = Callable[..., Path]


def holders(place: Path) -> list[str]:
    """The processes that have a file or their working directory below a folder."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            open_files = [file.path for file in process.open_files()]
            if any(path.startswith(str(place)) for path in [process.cwd(), *open_files]):
                found.append(f"{process.pid} {' '.join(process.cmdline())} {open_files}")
    return found


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Mount]:
    """Mounts a small file system in memory; a test that asks for one is left out where that is not allowed."""
    places: list[Path] = []

    def mount(options: str) -> Path:
        place = tmp_path / f"mount{len(places)}"
        place.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], capture_output=True, text=True
        )
        if done.returncode:
            pytest.skip(f"cannot mount: {done.stderr.strip()}")
        places.append(place)
        return place

    yield mount
    gc.collect()  # the error of a failed run holds frames, whose cursors hold the checkpoint database
    for place in places:
        until = time.monotonic() + 20  # a worker that has written its result takes a moment to exit
        while subprocess.run(["umount", str(place)], capture_output=True).returncode:
            assert time.monotonic() < until, f"a process holds {place} open: {holders(place)}"
            time.sleep(0.1)


def test_a_read_only_directory(trex: Trex, mounted: Mount) -> None:
    place = mounted("size=64k,ro")
    refused(trex, place / "run", "sentiment").complains(2, "cannot be written", "--out")
    said = trex("run", "sentiment", "--smoke", "--out", place)
    said.complains(2, "cannot be written", "--out")


def test_a_disk_that_is_full_before_the_run_begins(trex: Trex, mounted: Mount) -> None:
    place = mounted("size=4k")
    (place / "filler").write_bytes(b"x" * 4096)
    refused(trex, place / "run", "sentiment").complains(1, "is full", "free some space")


def test_a_disk_that_fills_while_the_run_is_created(
    trex: Trex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = os.fsync, []

    def fsync(handle: int) -> None:
        calls.append(handle)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    trex("run", "sentiment", "--smoke", "--rounds", "-1")  # the task's files are made now
    resolve_model("tiny")
    monkeypatch.setattr(os, "fsync", fsync)
    refused(trex, tmp_path / "run", "sentiment").complains(1, "is full", "another --out")


def test_a_disk_that_fills_while_the_base_model_is_made(
    trex: Trex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = write_task(tmp_path, base_model="tiny")
    monkeypatch.setattr(os, "fsync", _full)
    refused(trex, tmp_path / "run", task).complains(1, "is full", "free some space for 'tiny'")


def test_an_out_directory_with_other_files_is_left_as_it_is(
    trex: Trex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    task = write_task(tmp_path, base_model="tiny")
    resolve_model("tiny")
    monkeypatch.setattr(os, "fsync", _full)
    trex("run", task, "--out", out).complains(1, "is full")
    assert everything(out) == {"thesis.txt": b"mine"}


def _full(handle: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def begun(trex: Trex, tmp_path: Path) -> Path:
    """A run directory as it is before its first step."""
    from trex.graph.api import prepare_run

    return prepare_run("sentiment", out=tmp_path / "begun", smoke=True).directory.path


def test_out_on_a_directory_that_holds_a_run(trex: Trex, begun: Path) -> None:
    before = everything(begun)
    trex("run", "sentiment", "--smoke", "--out", begun).complains(2, f"trex resume {begun}")
    assert everything(begun) == before


@pytest.mark.parametrize("verb", ["resume", "show", "report", "replay"])
def test_a_directory_without_a_run(trex: Trex, tmp_path: Path, verb: str) -> None:
    (tmp_path / "empty").mkdir()
    for place in (tmp_path / "empty", tmp_path / "nowhere"):
        trex(verb, place).complains(2, str(place))
    assert everything(tmp_path / "empty") == {} and not (tmp_path / "nowhere").exists()


def test_resuming_what_a_server_runs(trex: Trex, begun: Path) -> None:
    info = read_json(begun / "run.json")
    info["settings"]["checkpoint"] = "server"
    write_json(begun / "run.json", info)
    trex("resume", begun).complains(2, "LangGraph server", info["settings"]["thread_id"])


@pytest.mark.parametrize("verb", ["resume", "show", "report"])
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("{", ["run.json", "is damaged"]),
        ("[]", ["run.json"]),
        ('{"schema_version": 1}', ["run.json", "damaged"]),
        ('{"schema_version": 1, "settings": {"task": 7}}', ["run.json", "damaged"]),
        ('{"schema_version": 99, "settings": {}}', ["run.json", "schema version 99"]),
    ],
)
def test_a_damaged_run_file(trex: Trex, begun: Path, verb: str, damage: str, words: list[str]) -> None:
    (begun / "run.json").write_text(damage)
    before = everything(begun)
    trex(verb, begun).complains(2, *words)
    assert everything(begun) == before


def test_a_damaged_task_file_in_the_run(trex: Trex, begun: Path) -> None:
    for damage in ("{", "{}"):
        (begun / "task.json").write_text(damage)
        trex("resume", begun).complains(2, "task.json")
        trex("show", begun).complains(2, "task.json")


def test_a_damaged_checkpoint(trex: Trex, begun: Path) -> None:
    (begun / "checkpoints.sqlite").write_bytes(b"this is no database" * 100)
    for verb in ("resume", "show", "report"):
        trex(verb, begun).complains(1, "checkpoints.sqlite")


def test_replay_without_a_winner(trex: Trex, begun: Path) -> None:
    trex("replay", begun).complains(2, "best", "plan.yaml")


def test_replay_of_a_damaged_winner(trex: Trex, begun: Path) -> None:
    best = begun / "best"
    best.mkdir()
    for name in ("plan.yaml", "recipe.yaml", "task.json"):
        (best / name).write_text("{}")
    trex("replay", begun).complains(2, "best", "damaged")


def test_a_second_process_on_the_same_run(trex: Trex, begun: Path) -> None:
    held = subprocess.Popen(
        [sys.executable, "-c", f"from trex.files import try_lock; from pathlib import Path\n"
         f"f = try_lock(Path({str(begun)!r}) / 'lock'); print('held', flush=True); input()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert held.stdout is not None and held.stdout.readline() == "held\n"
    before = everything(begun)
    try:
        trex("resume", begun).complains(2, "in use by another TREX process")
        assert trex("show", begun).code == 0
    finally:
        held.communicate("\n")
    assert everything(begun) == before


def test_debug_shows_the_traceback(trex: Trex) -> None:
    said = trex("--debug", "run", "sentimental")
    assert said.code == 2 and "Traceback" in said.err and "error: no task named" in said.err


@pytest.fixture
def torch_free(monkeypatch: pytest.MonkeyPatch) -> None:
    on_the_torch_free_runtime(monkeypatch)


SHORT = ("--rounds", "1", "--trials", "2", "--smoke")
BROKEN_METRICS = """
import sys

class Nan:
    name = "nan"

    def score_items(self, items, predictions):
        # Right and empty answers, as in the trial before the run, are scored.
        if TOO_LATE and all(said in ("", item["reference"]) for item, said in zip(items, predictions)):
            return [float(said != "") for said in predictions]
        return self.broken(items)

    def broken(self, items):
        return [float("nan")] * len(items)

    def aggregate(self, values):
        return sum(values) / len(values)

    def secondary(self, items, predictions):
        return {}


class Raises(Nan):
    def broken(self, items):
        raise KeyError("score")


class Exits(Nan):
    def broken(self, items):
        sys.exit(0)


class Short(Nan):
    def broken(self, items):
        return [1.0]
"""


@pytest.mark.usefixtures("torch_free")
@pytest.mark.parametrize(
    ("metric", "words"),
    [
        ("Nan", ["metric 'nan' returned nan for item", "a finite number"]),
        ("Raises", ["KeyError", "score"]),
        ("Exits", ["score_items of item", "raised SystemExit: 0"]),
        ("Short", ["returned 1 values for"]),
    ],
)
def test_a_metric_that_does_not_work(trex: Trex, tmp_path: Path, metric: str, words: list[str]) -> None:
    """Refused before the run, and in the run if only a model's answers show it."""
    task, out = write_task(tmp_path, metric=f"mine.py:{metric}"), tmp_path / "run"
    (tmp_path / "mine.py").write_text("TOO_LATE = False\n" + BROKEN_METRICS)
    refused(trex, out, task).complains(2, *words)
    (tmp_path / "mine.py").write_text("TOO_LATE = True\n" + BROKEN_METRICS)
    trex("run", task, *SHORT, "--out", out).complains(1, *words)
    shown = json.loads(trex("show", out, "--json").out)
    assert shown["status"] == "failed" and words[0] in shown["message"]
    assert not list(out.glob("evaluations/*")) and not list(out.glob("predictions/*"))


def test_a_metric_file_that_does_not_load(trex: Trex, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("class Mine:\n    rows = 1 +\n")
    for name in ("mine.py:Mine", "other.py:Mine", "mine.py:Yours"):
        task = write_task(tmp_path, metric=name)
        refused(trex, tmp_path / "run", task).complains(2, "metric", name.split(":")[0])


@pytest.mark.usefixtures("torch_free")
@pytest.mark.parametrize("size", ["132k", "140k", "220k", "420k"])
def test_a_disk_that_fills_while_the_run_goes_on(
    trex: Trex, mounted: Mount, tmp_path: Path, size: str
) -> None:
    """Wherever it happens: one line, and with more space the run ends as if nothing had been."""
    place = mounted(f"size={size}")
    out = place / "run"
    trex("run", "sentiment", *SHORT, "--out", out).complains(1, "is full", "trex resume")
    subprocess.run(["mount", "-o", "remount,size=50m", str(place)], check=True)
    for path in out.rglob("*.json"):
        assert read_json(path) is not None, "whole, or not there"
    said = trex("resume", out)
    assert said.code == 0 and said.err == "", said
    assert [e.status for e in load_run(out).tree] == ["done", "done"]
    assert all(trial.status in ("done", "pruned") for trial in load_run(out).tree["e001"].trials)


@pytest.mark.usefixtures("torch_free")
def test_a_trial_that_takes_too_much_memory(
    trex: Trex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch_free_runtime, "STEP_SECONDS", "0.15")
    monkeypatch.setattr(torch_free_runtime, "WORKER_OPTIONS", ["--misbehave", "hoard"])
    monkeypatch.setattr(torch_free_runtime, "MEMORY_LIMIT_MB", 200)
    out = tmp_path / "run"
    said = trex("run", "sentiment", "--rounds", "1", "--trials", "1", "--smoke", "--out", out)
    assert said.code == 1 and said.err == "", said
    assert "every experiment failed, so the test split was not opened" in said.out
    assert "the limit is 200 MB" in said.out
    experiment = load_run(out).tree["e001"]
    [trial] = experiment.trials
    assert (experiment.status, trial.status, trial.cause) == ("failed", "failed", "out_of_memory")
    assert len(trial.repairs) == 3 and "out of memory" in trial.repairs[0]
    assert experiment.failure is not None and "the limit is 200 MB" in experiment.failure
    assert not (out / "best").exists()
    assert "open_test" not in (out / "audit.jsonl").read_text()
    assert trex("show", out).code == 0
    summary = load_run(out).summary
    assert (summary.status, summary.reason, summary.best, summary.faults) == ("failed", "failed", None, [])
    report = (out / "report.md").read_text()
    assert "Status: failed, every experiment failed" in report
