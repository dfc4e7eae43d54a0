"""Runs whose state is on a real PostgreSQL server: the same tree, resumed after kills and after the server's."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from support.kill import kill, launch, processes_of, run_with_kills, tree_of
from support.places import SUPPORT
from trex import load_run
from trex.errors import InputError
from trex.files import read_json
from trex.graph.run.checkpoint_store import ADDRESS

from engines import postgres_server, require

TORCH_FREE = str(SUPPORT / "torch_free.py")
KILLS = int(os.environ.get("TREX_TEST_KILLS") or 20)


@pytest.fixture(scope="module")
def address() -> str:
    require("postgres")
    return postgres_server.start()


@pytest.fixture(scope="module")
def on_sqlite(tmp_path_factory: pytest.TempPathFactory, address: str) -> Path:
    """A run that nothing disturbs, with its state in a file."""
    folder = tmp_path_factory.mktemp("sqlite")
    process = launch([TORCH_FREE, "run", str(folder / "run")], folder / "home", folder / "log")
    assert process.wait(timeout=240) == 0, (folder / "log").read_text()
    return folder / "run"


def test_the_tree_is_the_same_and_no_file_holds_it(
    address: str, on_sqlite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tree is a delta channel: it is put together from the writes that the server keeps."""
    monkeypatch.setenv(ADDRESS, address)
    run = tmp_path / "run"
    process = launch([TORCH_FREE, "run", str(run)], tmp_path / "home", tmp_path / "log")
    assert process.wait(timeout=240) == 0, (tmp_path / "log").read_text()
    assert tree_of(run) == tree_of(on_sqlite)
    assert not (run / "checkpoints.sqlite").exists()
    assert read_json(run / "run.json")["settings"]["checkpoint"] == "postgres"
    held = [file for file in run.rglob("*") if file.is_file() and address.encode() in file.read_bytes()]
    assert held == [], "the address may hold a password"
    monkeypatch.delenv(ADDRESS)
    with pytest.raises(InputError, match=f"set {ADDRESS}"):
        len(load_run(run).tree)


def test_everything_killed_at_random_moments(
    address: str, on_sqlite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ADDRESS, address)
    longest, wanted, made = read_json(on_sqlite / "clock.json")["active_seconds"], max(1, KILLS // 4), 0
    for attempt in range(wanted):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        run = folder / "run"
        begin, go_on = [TORCH_FREE, "run", str(run)], [TORCH_FREE, "resume", str(run)]
        made += run_with_kills(begin, go_on, run, folder / "home", wanted - made, longest, seed=attempt)
        assert tree_of(run) == tree_of(on_sqlite)
        if made >= wanted:
            return
    assert made >= wanted


def test_the_server_crashes_during_a_run(
    address: str, on_sqlite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run ends with one line, or goes on if the server is back in time; resumed, it gives the same tree."""
    monkeypatch.setenv(ADDRESS, address)
    run, log = tmp_path / "run", tmp_path / "log"
    process = launch([TORCH_FREE, "run", str(run), "slowly"], tmp_path / "home", log)
    end = time.monotonic() + 90
    while not list(run.glob("trials/*/status.json")) and time.monotonic() < end:
        time.sleep(0.1)
    postgres_server.stop()
    try:
        time.sleep(3)
    finally:
        postgres_server.begin()
    if process.wait(timeout=300) != 0:
        assert "trex resume" in log.read_text()
        kill(processes_of(run))
        process = launch([TORCH_FREE, "resume", str(run)], tmp_path / "home", log)
        assert process.wait(timeout=240) == 0, log.read_text()
    assert tree_of(run) == tree_of(on_sqlite)


def test_no_server_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from trex.graph.run import checkpoint_store
    from trex.graph.run.setup import check_settings, choose_settings

    require("postgres")
    monkeypatch.setattr(checkpoint_store, "_PATIENCE", 1.0)
    monkeypatch.setenv(ADDRESS, "postgresql://nobody@127.0.0.1:9/none")
    with pytest.raises(InputError, match="no PostgreSQL server answers"):
        check_settings(choose_settings("sentiment", tmp_path))
