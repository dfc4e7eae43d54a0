"""The command line, called in this process or in one of its own, with a real runtime or one without torch.

python tests/support/cli.py STEP_SECONDS VERB …    `trex VERB …` on the torch-free runtime
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from langgraph.pregel._runner import FuturesDict
from trex.graph.cli.commands import main
from trex.graph.run import session, setup
from trex.graph.run.runtime import RuntimeRegistry

from support import torch_free
from support.places import TESTS


@dataclass(frozen=True)
class Said:
    """What a command came to."""

    code: int
    out: str
    err: str

    def complains(self, code: int, *words: str) -> None:
        """Assert that it ended with that code and one line on stderr that holds these words."""
        assert self.code == code, self
        lines = self.err.strip().splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("error: "), lines[0]
        assert "Traceback" not in self.err + self.out
        for word in words:
            assert word in lines[0], lines[0]


Trex = Callable[..., Said]


def caller(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Trex:
    """`trex(*words)` for a test."""

    def trex(*words: str | Path) -> Said:
        capfd.readouterr()
        monkeypatch.setattr(sys, "argv", ["trex", *map(str, words)])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(bool(end.code))
        captured = capfd.readouterr()
        return Said(code, captured.out, captured.err)

    return trex


def everything(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def on_the_torch_free_runtime(monkeypatch: pytest.MonkeyPatch, step_seconds: float = 0.03) -> None:
    """From here on runs of this process train and grade without torch."""
    monkeypatch.setattr(torch_free, "STEP_SECONDS", str(step_seconds))
    monkeypatch.setattr(session, "RuntimeRegistry", lambda: RuntimeRegistry(torch_free.open_runtime))
    monkeypatch.setattr(setup, "check_files", torch_free.check_files)


def with_late_callbacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on LangGraph hears late of nodes that raised, as on a busy machine: its pool is closed by then."""
    on_done = FuturesDict.on_done

    def late(self: Any, task: Any, future: Any) -> None:
        if future.exception() is not None:
            time.sleep(0.2)
        on_done(self, task, future)

    monkeypatch.setattr(FuturesDict, "on_done", late)


def launch(folder: Path, step_seconds: float, *words: str | Path) -> subprocess.Popen[str]:
    """The same in a process of its own, which can be interrupted."""
    return subprocess.Popen(
        [sys.executable, __file__, str(step_seconds), *map(str, words)],
        env=os.environ | {"TREX_HOME": str(folder / "home"), "PYTHONPATH": str(TESTS)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


if __name__ == "__main__":
    seconds = float(sys.argv.pop(1))
    with pytest.MonkeyPatch.context() as patch:
        on_the_torch_free_runtime(patch, seconds)
        with_late_callbacks(patch)
        main()
