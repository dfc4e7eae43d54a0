"""Fixtures that every test file may use."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def fresh_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A TREX_HOME of the test's own: nothing is reused from earlier runs."""
    home = tmp_path / "home"
    monkeypatch.setenv("TREX_HOME", str(home))
    return home


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest file first: workers take files in order, and it would otherwise end long after the others."""
    items.sort(key=lambda item: item.path.name != "test_kill.py")
