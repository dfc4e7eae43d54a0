"""The grader as a process, around a model made of rules; the real model is in test_evaluation_models.py."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from support.grader import films as rows
from support.grader import films_task, model_folder
from support.places import SUPPORT
from trex.errors import InputError, IntegrityError, TrexError
from trex.evaluation.grader import audit
from trex.evaluation.grader.client import GraderClient
from trex.evaluation.splits import search_items
from trex.evaluation.task import Prompt, Task
from trex.files import read_json, read_jsonl, write_jsonl

PROGRAM = [sys.executable, str(SUPPORT / "grader.py")]


class Scene:
    """A task, a base model's folder (never loaded here), adapters, and a run directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run_dir = folder / "run"
        self.base = model_folder(folder)
        self.task = films_task(folder)

    def adapter(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        (folder / "adapter_config.json").write_text("{}")
        (folder / "adapter_model.safetensors").write_text(name)
        return folder

    def grader(self, *more: str, task: Task | None = None) -> GraderClient:
        return GraderClient(task or self.task, self.run_dir, self.base, command=[*PROGRAM, *more])

    @property
    def calls(self) -> list[str]:
        path = self.run_dir / "calls.txt"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    monkeypatch.setenv("TREX_HOME", str(tmp_path / "home"))
    return Scene(tmp_path)


@pytest.fixture
def grader(scene: Scene) -> Iterator[GraderClient]:
    with scene.grader() as opened:
        yield opened


def test_an_evaluation_is_kept_with_its_predictions(scene: Scene, grader: GraderClient) -> None:
    good = grader.evaluate(scene.adapter("good"), "search")
    base = grader.evaluate(None, "search")
    items = search_items(scene.task)
    assert good.score.value == 1.0 and good.score.n == len(items) and good.scoring == "choices"
    assert base.score.value == sum(i["label"] == "positive" for i in items) / len(items)
    assert read_json(scene.run_dir / "evaluations" / f"{good.id}.json")["id"] == good.id
    assert good.predictions is not None
    lines = list(read_jsonl(scene.run_dir / good.predictions))
    assert [line["id"] for line in lines] == [item["id"] for item in items]
    assert lines[0].keys() == {"id", "prediction", "value"}


def test_the_same_question_is_answered_from_disk_even_by_a_new_process(scene: Scene) -> None:
    with scene.grader() as first:
        asked = [first.evaluate(scene.adapter("good"), "search", 10), first.evaluate(None, "confirm")]
        assert first.evaluate(scene.adapter("good"), "search", 10) == asked[0]
    with scene.grader() as second:
        assert [
            second.evaluate(scene.adapter("good"), "search", 10),
            second.evaluate(None, "confirm"),
        ] == asked
        assert len(scene.calls) == 2
        ids = {
            asked[0].id,
            second.evaluate(scene.adapter("good"), "search", 11).id,
            second.evaluate(scene.adapter("good2"), "search", 10).id,
            second.evaluate(scene.adapter("good"), "search", 10, "generation").id,
        }
    assert len(ids) == 4


def test_a_limit_takes_the_first_items_of_the_split(scene: Scene, grader: GraderClient) -> None:
    short = grader.evaluate(None, "search", 7)
    assert short.predictions is not None and short.score.n == 7
    ids = [line["id"] for line in read_jsonl(scene.run_dir / short.predictions)]
    assert ids == [item["id"] for item in search_items(scene.task)[:7]]
    assert grader.evaluate(None, "search", 10_000).id == grader.evaluate(None, "search").id


def test_the_test_split_is_refused(scene: Scene, grader: GraderClient) -> None:
    with pytest.raises(InputError, match="after the winner is sealed"):
        grader.evaluate(None, "test")
    with pytest.raises(InputError, match="'search' or 'confirm', not on 'train'"):
        grader.evaluate(None, "train")
    # Neither does the process give it to a client that forgets to ask.
    with pytest.raises(InputError, match="not on 'test'"):
        grader._ask("evaluate", split="test")
    with pytest.raises(IntegrityError, match="no winner is sealed"):
        grader.score_test()
    assert not scene.calls
    assert grader.evaluate(None, "search").score.n > 0


def test_the_winner_and_the_baseline_are_scored_on_test_once(scene: Scene, grader: GraderClient) -> None:
    winner = scene.adapter("good")
    frozen = grader.seal(winner)
    assert grader.seal(winner) == frozen
    best, baseline = grader.score_test()
    assert best.split == "test" and best.score.value == 1.0 and best.score.n == 20
    assert baseline.score.value == 0.5
    assert baseline.secondary["choices_accuracy"] == baseline.secondary["generation_accuracy"] == 0.5
    assert best.predictions == f"predictions/test-{best.id}.jsonl"
    assert best.predictions is not None
    assert "film" not in (scene.run_dir / best.predictions).read_text()
    calls = len(scene.calls)
    assert grader.score_test() == (best, baseline)
    assert len(scene.calls) == calls
    assert [e.what for e in audit.read(scene.run_dir)][:3] == ["seal", "seal", "open_test"]
    with pytest.raises(IntegrityError, match="already opened for another winner"):
        grader.seal(scene.adapter("other"))


def test_the_test_split_may_be_opened_again_after_a_crash(scene: Scene) -> None:
    with scene.grader() as first:
        first.seal(scene.adapter("good"))
        (scene.run_dir / "slow").touch()
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(first.score_test)
            _until(lambda: len(scene.calls) == 1)
            first.close()
            with pytest.raises(TrexError, match="closed"):
                asked.result()
    with scene.grader() as second:
        best, _ = second.score_test()
    assert best.score.value == 1.0


def test_until_the_test_is_opened_another_winner_may_be_sealed(scene: Scene, grader: GraderClient) -> None:
    grader.seal(None)
    grader.seal(scene.adapter("good"))
    assert grader.score_test()[0].score.value == 1.0


def test_a_winner_that_changed_after_the_seal_is_refused(scene: Scene, grader: GraderClient) -> None:
    winner = scene.adapter("good")
    grader.seal(winner)
    (winner / "adapter_model.safetensors").write_text("others")
    with pytest.raises(IntegrityError, match="changed after the seal"):
        grader.score_test()
    assert "open_test" not in [e.what for e in audit.read(scene.run_dir)]


def test_the_base_model_can_win(grader: GraderClient) -> None:
    grader.seal(None)
    best, baseline = grader.score_test()
    assert best.score == baseline.score


def test_a_killed_grader_is_restarted_and_the_question_repeated(scene: Scene, grader: GraderClient) -> None:
    grader.evaluate(None, "search", 5)
    (scene.run_dir / "slow").touch()
    before = grader.pid
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(grader.evaluate, scene.adapter("good"), "search")
        _until(lambda: len(scene.calls) == 2)
        assert before is not None
        os.kill(before, signal.SIGKILL)
        assert asked.result(timeout=30).score.value == 1.0
    assert grader.pid not in (None, before)
    assert len(scene.calls) == 3


def test_an_idle_grader_that_was_killed_comes_back(grader: GraderClient) -> None:
    first = grader.evaluate(None, "search", 5)
    assert grader.pid is not None
    os.kill(grader.pid, signal.SIGKILL)
    assert grader.evaluate(None, "search", 5) == first


def test_a_grader_that_always_dies_is_one_clear_error(scene: Scene) -> None:
    with (
        scene.grader("dies") as grader,
        pytest.raises(TrexError, match=r"died 3 times .*code 3.*grader\.log"),
    ):
        grader.evaluate(None, "search")


def test_threads_are_served_one_at_a_time(scene: Scene, grader: GraderClient) -> None:
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda n: grader.evaluate(None, "search", n), [3, 4, 5, 3, 4, 5]))
    assert [e.score.n for e in found] == [3, 4, 5, 3, 4, 5]
    assert len(scene.calls) == 3


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"prompt": Prompt(user="Which?\n{text}", answer="{label}")}, "prompt"),
        ({"choices": ["positive", "negative"]}, "choices"),
        ({"search_fraction": 0.5}, "search_fraction"),
    ],
)
def test_a_task_that_changed_is_refused(scene: Scene, changed: dict[str, object], what: str) -> None:
    with scene.grader() as grader:
        grader.evaluate(None, "search", 3)
    with (
        scene.grader(task=scene.task.model_copy(update=changed)) as grader,
        pytest.raises(IntegrityError, match=f"{what} changed since this run began"),
    ):
        grader.evaluate(None, "search", 3)


@pytest.mark.parametrize("file", ["model/model.safetensors", "model/tokenizer_config.json", "test.jsonl"])
def test_files_that_changed_are_refused(scene: Scene, file: str) -> None:
    with scene.grader() as grader:
        grader.evaluate(None, "search", 3)
    path = scene.folder / file
    path.write_text(path.read_text().replace("x", "y").replace("weights", "others!").replace("film", "fi1m"))
    with scene.grader() as grader, pytest.raises(IntegrityError, match="changed since this run began"):
        grader.evaluate(None, "search", 3)


def test_a_training_set_with_held_out_items_is_reported(scene: Scene, grader: GraderClient) -> None:
    held_out = [rows(3, 4)[0], rows(101, 102)[0]]
    for name, texts in {
        "clean": ["nothing known here"],
        "leaky": ["nothing", *[r["text"] for r in held_out]],
    }.items():
        trained = [
            {"prompt": scene.task.prompt.turns({"text": t}), "completion": [], "source": {"text": t}}
            for t in texts
        ]
        write_jsonl(scene.folder / name / "train.jsonl", trained)
    assert grader.check_contamination(scene.folder / "clean").clean
    report = grader.check_contamination(scene.folder / "leaky")
    assert (report.matches, report.examples, report.against_items) == (2, [1, 2], 80)
    assert "film" not in (scene.run_dir / audit.FILE).read_text()
    with pytest.raises(IntegrityError):
        grader.check_contamination(scene.folder / "absent")


def test_test_items_in_dev_are_refused(scene: Scene, grader: GraderClient) -> None:
    write_jsonl(scene.folder / "test.jsonl", rows(50, 70))
    grader.seal(None)
    with pytest.raises(InputError, match=r"10 test items .* are also in dev"):
        grader.score_test()


def test_bad_input_leaves_nothing_behind(scene: Scene) -> None:
    task = scene.task.model_copy(update={"metric": "test_evaluation_grader_metric:Bad"})
    (scene.folder / "test_evaluation_grader_metric.py").write_text(
        "class Bad:\n"
        "    name = 'bad'\n"
        "    def score_items(self, items, predictions): return [float('nan')] * len(items)\n"
        "    def aggregate(self, rows): return 0.0\n"
        "    def secondary(self, items, predictions): return {}\n"
    )
    sys.path.append(str(scene.folder))
    try:
        with scene.grader(task=task) as grader, pytest.raises(TrexError, match="returned nan"):
            grader.evaluate(None, "search")
    finally:
        sys.path.remove(str(scene.folder))
    assert not (scene.run_dir / "evaluations").exists()
    assert not (scene.run_dir / "predictions").exists()


def test_a_process_sees_no_secrets(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    with scene.grader() as grader:
        grader.evaluate(None, "search", 3)
        environment = Path(f"/proc/{grader.pid}/environ")
        if not environment.exists():
            pytest.skip("no /proc here")
        seen = environment.read_bytes()
    assert b"OPENAI_API_KEY" not in seen
    assert b"OMP_NUM_THREADS=1" in seen


@pytest.mark.parametrize("busy", ["slow", "stuck"])
def test_the_grader_ends_with_the_run(scene: Scene, busy: str) -> None:
    """The run is killed, the grader is busy: it goes too, even if no thread of it can run Python any more."""
    (scene.run_dir).mkdir()
    (scene.run_dir / busy).touch()
    script = (
        "import sys; from pathlib import Path; from trex.evaluation.grader.client import GraderClient\n"
        "from trex.evaluation.task import Task\n"
        "task = Task.model_validate_json(sys.argv[1])\n"
        "grader = GraderClient(task, Path(sys.argv[2]), Path(sys.argv[3]), command=sys.argv[4:])\n"
        "grader.start(); print(grader.pid, flush=True); grader.evaluate(None, 'search')\n"
    )
    given = [scene.task.model_dump_json(), str(scene.run_dir), str(scene.base), *PROGRAM]
    with subprocess.Popen([sys.executable, "-c", script, *given], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        pid = int(run.stdout.readline())
        _until(lambda: len(scene.calls) == 1)
        run.kill()
    _until(lambda: not _alive(pid))
    _until(lambda: not [each for each in psutil.process_iter() if _group(each.pid) == pid])


def test_the_grader_outlives_the_thread_that_started_it(scene: Scene) -> None:
    """A run starts it from a thread of a pool."""
    with scene.grader() as grader:
        thread = threading.Thread(target=grader.start)
        thread.start()
        thread.join()
        first = grader.pid
        assert grader.evaluate(None, "search", 3).score.n == 3
        assert grader.pid == first is not None


def test_what_libraries_print_does_not_disturb(scene: Scene) -> None:
    (scene.folder / "test_evaluation_grader_loud.py").write_text(
        "from trex.evaluation.metrics.accuracy import Accuracy\n"
        "class Loud(Accuracy):\n"
        "    def secondary(self, items, predictions):\n"
        "        print('{\"number\": 1}')\n"
        "        return {}\n"
    )
    sys.path.append(str(scene.folder))
    task = scene.task.model_copy(update={"metric": "test_evaluation_grader_loud:Loud"})
    try:
        with scene.grader(task=task) as grader:
            assert grader.evaluate(None, "search", 5).score.n == 5
    finally:
        sys.path.remove(str(scene.folder))
    assert '{"number": 1}' in (scene.run_dir / "grader.log").read_text()


def test_an_unknown_question_gets_an_error(scene: Scene) -> None:
    opening = scene.grader()._setup.model_dump_json()
    asked = opening + '\n{"number": 1, "action": "read_test"}\n'
    with subprocess.Popen(PROGRAM, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(asked)
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["error"] is None
        assert "no valid request" in json.loads(process.stdout.readline())["error"]


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except OSError:
        return None


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def _until(condition: object, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "it did not happen in time"
        threading.Event().wait(0.02)
