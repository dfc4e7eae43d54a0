"""Where tests find files: the repository, the tests, their support programs, their recorded data."""

from __future__ import annotations

from pathlib import Path

SUPPORT = Path(__file__).parent
TESTS = SUPPORT.parent
REPOSITORY = TESTS.parent
DATA = TESTS / "data"
