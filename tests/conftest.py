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
