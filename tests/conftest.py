"""Fixtures that every test file may use."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from trex import Run


LONGEST = (
    *("test_kill", "test_run_smoke", "test_steering", "test_llm_runs", "test_cli", "test_architectures"),
    *("test_studio_steering", "test_llm_runs_faults", "test_edited_runs", "test_studio", "test_notebook"),
    *("test_operator_protocol", "test_own_task", "test_bad_input", "test_attacks", "test_training_worker"),
)
"""Test files by the time that they take, in minutes to a quarter of one; the others take less."""


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run that a trial has won. Tests copy it before they change it."""
    from support.finished import finished_run  # most tests need nothing of it

    return finished_run(tmp_path_factory.mktemp("finished"))


@pytest.fixture(autouse=True)
def data_checked_in_this_process(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Runs check their data here, where the libraries are loaded, unless a test is about the process for it."""
    if "real_check" in request.keywords:
        return
    from trex.evaluation.task_check import inspect_task
    from trex.graph.run import setup

    monkeypatch.setattr(setup, "check_files", inspect_task)


@pytest.fixture
def fresh_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A TREX_HOME of the test's own: nothing is reused from earlier runs."""
    home = tmp_path / "home"
    monkeypatch.setenv("TREX_HOME", str(home))
    return home


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest first: workers take files in order, and the last ones should be short.

    It needs `--no-loadscope-reorder`: pytest-xdist would begin with the files of most tests, which are short ones.
    """
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))
