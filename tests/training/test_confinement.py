"""What a confined worker can and cannot touch, tried for real where the kernel has Landlock; and life without it."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.cli import on_the_torch_free_runtime
from support.jobs import quiet
from support.launchers import FAKE, local_runner
from support.own_task import write_task
from support.plans import training_plan
from trex import landlock, run
from trex.errors import TrexError
from trex.graph.report.integrity import confinement_of
from trex.graph.run.doctor import check_machine
from trex.training.jobs import confinement
from trex.training.jobs import worker_session as sessions
from trex.training.jobs.confinement import REQUIRE, confine
from trex.training.jobs.job import Job, JobResult, Trial
from trex.training.jobs.trial_folder import TrialFolder, read_result
from trex.training.runners.worker_starter import default_starter

ABI = landlock.abi()
needs_landlock = pytest.mark.skipif(
    not ABI, reason="this kernel has no Landlock (Linux 5.13 or later), so nothing is confined here"
)


def trial_in(run_dir: Path, model: Path) -> Trial:
    return Trial(
        plan=training_plan(max_steps=4),
        base_model=str(model),
        base_model_hash="m",
        dataset=str(run_dir / "datasets" / "mine"),
        dataset_fingerprint="d",
        rows=10,
        total_steps=4,
        seed=1,
        threads=1,
        environment="e",
    )


class House:
    """A run directory, a TREX_HOME and a user's home, each with something that a worker may or may not read."""

    def __init__(self, root: Path) -> None:
        self.root, self.run, self.home = root, root / "run", root / "home"
        self.trial = self.run / "trials" / "mine"
        self.model = self.home / "models" / "base"
        self.outside = root / "outside"
        for path in (
            *(self.home / "tasks" / "tickets" / f"{name}.jsonl" for name in ("train", "dev", "test")),
            self.home / "store" / "trials" / "x" / "result.json",
            self.trial / "plan.json",
            self.run / "trials" / "other" / "plan.json",
            self.run / "datasets" / "mine" / "train.jsonl",
            self.run / "datasets" / "other" / "train.jsonl",
            self.run / "evaluations" / "e.json",
            self.run / "predictions" / "test-e.jsonl",
            self.run / "task.json",
            self.model / "config.json",
            self.root / "blobs" / "weights",
            self.root / "user" / ".ssh" / "id_ed25519",
            self.outside / "notes.txt",
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("{}")
        # As in the hub's cache: the model's folder holds links.
        (self.model / "model.safetensors").symlink_to(self.root / "blobs" / "weights")
        (self.trial / "planted").symlink_to(self.home / "tasks" / "tickets" / "test.jsonl")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    return House(tmp_path_factory.mktemp("house"))


ATTEMPTS = """
import json, os, signal, socket, subprocess, sys, tempfile, threading
from pathlib import Path
from trex.training.jobs.confinement import confine
from trex.training.jobs.job import Trial

given = json.loads(sys.argv[1])
held = confine(Trial.model_validate(given["trial"]), Path(given["folder"]))

def tried(action):
    try:
        action()
        return "done"
    except OSError as error:
        return type(error).__name__

def in_a_thread(path):
    found = []
    thread = threading.Thread(target=lambda: found.append(tried(lambda: open(path).read())))
    thread.start(); thread.join()
    return found[0]

def scratch():
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"x")
        assert file.name.startswith(given["folder"])

other = socket.socket(); other.settimeout(2)
print(json.dumps({
    "held": held,
    "read": {path: tried(lambda: open(path).read()) for path in given["read"]},
    "list": {path: tried(lambda: os.listdir(path)) for path in given["list"]},
    "write": {path: tried(lambda: Path(path).write_text("x")) for path in given["write"]},
    "remove": {path: tried(lambda: os.unlink(path)) for path in given["remove"]},
    "link": {path: tried(lambda: os.link(path, given["folder"] + "/link")) for path in given["link"]},
    "thread": in_a_thread(given["secret"]),
    "program": subprocess.run(["cat", given["secret"]], capture_output=True).returncode,
    "scratch": tried(scratch),
    "connect": tried(lambda: other.connect(("127.0.0.1", given["port"]))),
    "bind": tried(lambda: socket.socket().bind(("127.0.0.1", 0))),
    "signal": tried(lambda: os.kill(os.getppid(), 0)),
}))
"""


@pytest.fixture(scope="module")
def seen(house: House) -> Iterator[dict[str, Any]]:
    """What a confined process could do, each thing tried."""
    secret = str(house.home / "tasks" / "tickets" / "test.jsonl")
    with socket.create_server(("127.0.0.1", 0)) as server:
        given = {
            "trial": trial_in(house.run, house.model).model_dump(mode="json"),
            "folder": str(house.trial),
            "secret": secret,
            "port": server.getsockname()[1],
            "read": [str(path) for path in sorted(house.root.rglob("*")) if path.is_file()]
            + [
                f"/proc/self/root{secret}",
                f"{house.trial}/../../evaluations/e.json",
                "/etc/hostname",
                "/dev/null",
            ],
            "list": [str(house.run / "trials"), str(house.home), str(house.trial), "/tmp"],
            "write": [
                str(path)
                for path in (
                    house.trial / "fine",
                    house.trial / "tmp" / "fine",
                    house.run / "trials" / "other" / "result.json",
                    house.run / "evaluations" / "forged.json",
                    house.run / "audit.jsonl",
                    house.run / "datasets" / "mine" / "train.jsonl",
                    house.model / "config.json",
                    house.outside / "new.txt",
                    "/dev/null",
                )
            ],
            "remove": [str(house.run / "task.json"), str(house.trial / "fine")],
            "link": [secret],
        }
        done = subprocess.run(
            [sys.executable, "-c", ATTEMPTS, json.dumps(given)],
            env=os.environ | {"TREX_HOME": str(house.home)},
            capture_output=True,
            text=True,
            cwd=house.outside,
        )
    assert done.returncode == 0, done.stderr
    yield json.loads(done.stdout)


@needs_landlock
def test_a_worker_reads_what_it_needs_and_nothing_else(house: House, seen: dict[str, Any]) -> None:
    assert seen["held"] == f"Landlock ABI {ABI}"
    readable = {path for path, outcome in seen["read"].items() if outcome == "done"}
    assert readable == {
        str(house.trial / "plan.json"),
        str(house.run / "datasets" / "mine" / "train.jsonl"),
        str(house.model / "config.json"),
        str(house.model / "model.safetensors"),
        str(house.root / "blobs" / "weights"),
        "/etc/hostname",
        "/dev/null",
    }
    assert set(seen["read"].values()) == {"done", "PermissionError"}
    assert len(seen["read"]) - len(readable) >= 14
    assert {path for path, outcome in seen["list"].items() if outcome == "done"} == {str(house.trial)}


@needs_landlock
def test_a_worker_writes_in_its_own_folder_only(house: House, seen: dict[str, Any]) -> None:
    written = {path for path, outcome in seen["write"].items() if outcome == "done"}
    assert written == {str(house.trial / "fine"), str(house.trial / "tmp" / "fine"), "/dev/null"}
    assert not (house.run / "evaluations" / "forged.json").exists()
    assert (house.run / "datasets" / "mine" / "train.jsonl").read_text() == "{}"
    assert list(seen["remove"].values()) == ["PermissionError", "done"]
    assert seen["scratch"] == "done"


@needs_landlock
def test_there_is_no_way_around(house: House, seen: dict[str, Any]) -> None:
    """Threads, other programs, links that are planted or made: all are confined with it."""
    assert seen["thread"] == "PermissionError"
    assert seen["program"] == 1
    assert seen["read"][str(house.trial / "planted")] == "PermissionError"
    assert seen["link"][str(house.home / "tasks" / "tickets" / "test.jsonl")] in (
        "PermissionError",
        "OSError",
    )


@pytest.mark.skipif(ABI < 4, reason="Landlock denies TCP from ABI 4 (Linux 6.7) on; this kernel has less")
def test_a_worker_speaks_no_tcp(seen: dict[str, Any]) -> None:
    assert (seen["connect"], seen["bind"]) == ("PermissionError", "PermissionError")


@pytest.mark.skipif(
    ABI < 6, reason="Landlock denies signals from ABI 6 (Linux 6.12) on; this kernel has less"
)
def test_a_worker_signals_nobody_outside(seen: dict[str, Any]) -> None:
    assert seen["signal"] == "PermissionError"


@needs_landlock
def test_status_and_result_say_what_held(house: House, tmp_path: Path) -> None:
    trial = trial_in(house.run, house.model)
    job = Job(trial=trial, rung=0, stop_step=4, folder=tmp_path / "trials" / trial.id)
    result = local_runner(command=FAKE).run(job, None, quiet)
    status = TrialFolder(job.folder).read_status()
    assert status is not None
    assert result.confinement == status.confinement == f"Landlock ABI {ABI}"
    assert read_result(job.result_file) == result
    assert not (job.folder / "tmp").exists()


@needs_landlock
def test_a_run_says_that_all_its_trials_were_confined(
    tmp_path: Path, fresh_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_the_torch_free_runtime(monkeypatch)
    done = run(write_task(tmp_path), out=tmp_path / "run", smoke=True, rounds=1, trials=2)
    assert done.summary.confinement == f"Landlock ABI {ABI}"
    for name in ("report.md", "report.html"):
        text = (tmp_path / "run" / name).read_text()
        assert f"Landlock ABI {ABI}" in text and "Integrity" in text
        assert "CHANGED" not in text and "Changed by somebody else" not in text
    text = (tmp_path / "run" / "report.md").read_text()
    assert "test: 1 evaluation; contamination gate: 1 check; sources: 1 data set build" in text
    assert f"- Split test {read_hash(tmp_path / 'run', 'test')}: unchanged" in text
    grader = (tmp_path / "run" / "grader.log").read_text()
    assert f"writing: Landlock ABI {ABI}" in grader


def read_hash(run_dir: Path, name: str) -> str:
    return str(json.loads((run_dir / "grader.json").read_text())[name])[:16]


class FakeKernel:
    """Landlock of some ABI, seen from the system calls; handles are those of /dev/null."""

    def __init__(self, abi: int) -> None:
        self._abi = abi
        self.size = 0
        self.rights: tuple[int, int, int] = (0, 0, 0)
        self.allowed: list[int] = []
        self.restricted = False

    def call(self, number: int, *arguments: Any) -> int:
        if not self._abi:
            raise OSError(errno.ENOSYS, "Function not implemented")
        if number == 444 and arguments[0] is None:
            return self._abi
        if number == 444:
            ruleset = arguments[0]._obj
            self.size, self.rights = arguments[1].value, (ruleset.files, ruleset.network, ruleset.scoped)
            return os.open(os.devnull, os.O_RDONLY)
        if number == 445:
            self.allowed.append(arguments[2]._obj.allowed)
        self.restricted = self.restricted or number == 446
        return 0


class NoProcess:
    """A C library whose `prctl` does nothing: this process must stay as it is."""

    def prctl(self, *arguments: Any) -> int:
        return 0


@pytest.mark.parametrize(
    ("abi", "size", "files", "network", "scoped"),
    [
        (1, 8, 0x1FFF, 0, 0),
        (2, 8, 0x3FFF, 0, 0),
        (3, 8, 0x7FFF, 0, 0),
        (4, 16, 0x7FFF, 3, 0),
        (5, 16, 0xFFFF, 3, 0),
        (6, 24, 0xFFFF, 3, 3),
        (9, 24, 0xFFFF, 3, 3),
    ],
)
def test_a_kernel_is_asked_for_what_its_version_knows(
    abi: int,
    size: int,
    files: int,
    network: int,
    scoped: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kernel = FakeKernel(abi)
    monkeypatch.setattr(landlock, "_call", kernel.call)
    monkeypatch.setattr(landlock, "_libc", NoProcess)
    monkeypatch.setattr(sys, "platform", "linux")
    (tmp_path / "file").touch()
    grants = [
        (tmp_path, landlock.READ | landlock.WRITE),
        (tmp_path / "file", landlock.READ),
        (tmp_path / "no", 1),
    ]
    assert landlock.restrict(grants) == abi
    assert (kernel.size, *kernel.rights) == (size, files, network, scoped)
    assert kernel.allowed == [(landlock.READ | landlock.WRITE) & files, landlock.READ_FILE]
    assert kernel.restricted
    assert ctypes.sizeof(landlock._PathBeneath) == 12


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel without Landlock."""
    monkeypatch.setattr(landlock, "_call", FakeKernel(0).call)


@pytest.mark.usefixtures("without")
def test_without_landlock_the_worker_works_on_and_says_so(house: House, tmp_path: Path) -> None:
    trial = trial_in(house.run, house.model)
    assert confine(trial, tmp_path) == "not confined"
    assert list(tmp_path.iterdir()) == []
    folder = TrialFolder(tmp_path / trial.id)
    folder.write_plan(trial)

    def train(session: sessions.WorkerSession) -> None:
        (tmp_path / "adapter").mkdir()
        session.finish(tmp_path / "adapter", curve=[], train_loss=1.0)

    assert sessions.work(folder.path, 0, 4, train) == 0
    result, status = read_result(folder.rung(0) / "result.json"), folder.read_status()
    assert result is not None and status is not None
    assert result.confinement == status.confinement == "not confined"


@pytest.mark.usefixtures("without")
def test_without_landlock_a_user_can_insist(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = trial_in(house.run, house.model)
    assert {f.what: f.ok for f in check_machine()}["confinement"] is True
    monkeypatch.setenv(REQUIRE, "1")
    assert {f.what: f.ok for f in check_machine()}["confinement"] is False
    with pytest.raises(TrexError, match="this kernel can't confine workers"):
        default_starter(1, FAKE)
    folder = TrialFolder(tmp_path / trial.id)
    folder.write_plan(trial)
    assert sessions.work(folder.path, 0, 4, lambda session: pytest.fail("it trained")) == 1
    failure = folder.read_failure(0)
    assert failure is not None and "can't confine workers" in failure.message
    monkeypatch.setenv(REQUIRE, "0")
    default_starter(1, FAKE).close()


def test_a_confinement_that_would_hide_nothing_is_none(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The run lies inside the base model's folder, which the worker must read."""
    kernel = FakeKernel(6)
    monkeypatch.setattr(landlock, "_call", kernel.call)
    trial = trial_in(house.run, house.root)
    assert confine(trial, house.trial) == "not confined"
    assert "which the worker must read" in capfd.readouterr().err
    assert not kernel.restricted
    monkeypatch.setenv(REQUIRE, "1")
    with pytest.raises(TrexError, match="and TREX_REQUIRE_CONFINEMENT is set"):
        confine(trial, house.trial)


def test_the_working_directory_is_not_granted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    root = Path(confinement.__file__).parents[2]
    granted = {*confinement._installation(), *confinement._own_code()}
    assert tmp_path not in granted and root not in granted
    assert root / "training" in granted and root / "files.py" in granted
    assert root / "ftbench" not in granted and root / "tests" not in granted


@pytest.mark.parametrize(
    ("held", "says"),
    [
        ([], "not confined"),
        (["Landlock ABI 7"], "Landlock ABI 7"),
        (["Landlock ABI 7", "Landlock ABI 4"], "Landlock ABI 4"),
        (["Landlock ABI 10", "Landlock ABI 7"], "Landlock ABI 7"),
        (["Landlock ABI 4", "Landlock ABI 7, UDP open"], "Landlock ABI 7, UDP open"),
        (["Landlock ABI 7", "not confined"], "not confined"),
    ],
)
def test_a_run_is_as_confined_as_its_least_confined_job(tmp_path: Path, held: list[str], says: str) -> None:
    for number, confinement_ in enumerate(held):
        result = JobResult(
            trial="t", rung=0, step=1, adapter_hash="", curve=[], train_loss=0.0, confinement=confinement_
        )
        file = tmp_path / f"t{number}" / "rungs" / "0" / "result.json"
        file.parent.mkdir(parents=True)
        file.write_text(result.model_dump_json())
    assert confinement_of(tmp_path) == says


def test_results_of_older_versions_were_not_confined() -> None:
    old = {"trial": "t", "rung": 0, "step": 1, "adapter_hash": "", "curve": [], "train_loss": 0.0}
    assert JobResult.model_validate(old).confinement == "not confined"
