"""A metric of the user that exits, hangs, crashes or returns what is no number: refused before a run, by its name."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from support.grader import films_task, model_folder
from support.own_task import write_task
from support.places import SUPPORT
from trex import landlock
from trex.errors import InputError, TrexError
from trex.evaluation.grader import metric_trial
from trex.evaluation.grader.client import GraderClient
from trex.evaluation.grader.metric_trial import ITEMS, check_metric, try_metric
from trex.evaluation.metrics import measure, metric
from trex.evaluation.task import Item
from trex.evaluation.task_file import load_task

PLAIN = """
import ctypes, math, os, socket, sys, time
class Mine:
    name = "mine"
    def score_items(self, items, predictions):
        return [self.one(item, said) for item, said in zip(items, predictions, strict=True)]
    def one(self, item, said):
        return float(said == item["reference"])
    def aggregate(self, values):
        return sum(values) / len(values)
    def secondary(self, items, predictions):
        return {}
"""


def own(folder: Path, *lines: str) -> str:
    """The name of a metric in a file: the plain one with further lines in its class."""
    path = folder / "own.py"
    path.write_text(PLAIN + "".join(f"    {line}\n" for line in lines))
    return f"{path}:Mine"


IN_A_PROCESS: dict[str, tuple[list[str], str]] = {
    "exits when imported": (["sys.exit(0)"], "cannot be imported: SystemExit: 0"),
    "ends the process": (["os._exit(0)"], r"ended its process \(exit code 0\) when it was tried on 50 items"),
    "crashes": (["ctypes.string_at(0)"], r"ended its process \(exit code -11\)"),
    "says why and ends": (
        ["print('no licence', file=sys.stderr); sys.stderr.flush(); os._exit(7)"],
        r"exit code 7.*no licence",
    ),
    "returns None": (
        ["def one(self, item, said): return None"],
        r"returned None for item \w{16}; a value must",
    ),
    "prints an answer": (
        ["def one(self, item, said): print('{\"number\": 0}', flush=True); return said"],
        "returned 'billing' for item|returned 'network' for item|returned 'accounts' for item",
    ),
}


@pytest.mark.parametrize(("lines", "says"), IN_A_PROCESS.values(), ids=IN_A_PROCESS)
def test_a_task_with_a_metric_that_fails_is_refused(
    tmp_path: Path, fresh_home: Path, lines: list[str], says: str
) -> None:
    metric = own(tmp_path, *lines)
    with pytest.raises(InputError, match=rf"metric '({metric}|mine)' .*({says})|{says}"):
        load_task(write_task(tmp_path, metric=metric))


def test_a_function_that_exits_is_no_metric(tmp_path: Path, fresh_home: Path) -> None:
    with pytest.raises(InputError, match="metric 'sys:exit' cannot be made: SystemExit"):
        load_task(write_task(tmp_path, metric="sys:exit"))


def test_a_metric_that_never_returns(
    tmp_path: Path, fresh_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metric_trial, "PATIENCE_S", 0.5)
    task = films_task(tmp_path, metric=own(tmp_path, "while True: pass"))
    with pytest.raises(InputError, match=r"took more than \d s"):
        check_metric(task)


@pytest.mark.parametrize("name", ["sys:exit", "own"])
def test_loading_a_metric_here_does_not_end_this_process(tmp_path: Path, name: str) -> None:
    """The run itself loads it again, to compare models."""
    with pytest.raises(InputError, match="SystemExit"):
        metric(own(tmp_path, "sys.exit(0)") if name == "own" else name)


WRONG: dict[str, tuple[list[str], str]] = {
    "a list": (["def one(self, item, said): return [1.0]"], r"returned \[1.0\] for item \w{16}"),
    "a complex number": (["def one(self, item, said): return 1j"], r"returned 1j for item \w{16}"),
    "not a number": (["def one(self, item, said): return math.nan"], r"returned nan for item \w{16}"),
    "infinity": (["def one(self, item, said): return 10**400"], r"returned 1000.*000 for item \w{16}"),
    "a text": (["def one(self, item, said): return '1.0'"], r"returned '1.0' for item \w{16}"),
    "a number for no empty answer": (
        ["def one(self, item, said): return 1 / len(said)"], r"score_items of item \w{16} raised ZeroDiv"),
    "an exit": (["def one(self, item, said): sys.exit('bye')"], r"of item \w{16} raised SystemExit: bye"),
    "an error for all together": (
        ["def score_items(self, items, said): return [1.0] if len(items) == 1 else 1 / 0"],
        "score_items raised ZeroDivisionError"),
    "nothing": (["def score_items(self, items, said): return None"], "score_items returned None"),
    "one for all": (["def score_items(self, items, said): return 0.5"], "score_items returned 0.5"),
    "too few": (["def score_items(self, items, said): return [0.5]"], f"returned 1 values for {ITEMS} items"),
    "no aggregate": (["def aggregate(self, values): return None"], "returned None for aggregate"),
    "an aggregate that exits": (["def aggregate(self, values): sys.exit(0)"], "aggregate raised SystemExit"),
    "no figures": (["def secondary(self, items, said): return None"], "secondary returned None"),
    "figures without names": (["def secondary(self, items, said): return {1: 1.0}"], "secondary returned {1"),
    "a figure that is none": (["def secondary(self, items, said): return {'a': None}"], "secondary figure 'a'"),
    "no name": (["name = None"], "its name is no text"),
    "a name that exits": (["name = property(lambda self: sys.exit(0))"], "cannot be made: SystemExit"),
    "a pooled score without a row": (
        ["def counts(self, items, said): return [[1.0]] * len(items)", "def pooled(self, totals): return [1, 2]"],
        "pooled must return one number"),
    "counts that are none": (
        ["def counts(self, items, said): return None", "def pooled(self, totals): return totals[..., 0]"],
        "must return a row of finite counts"),
    "a pooled score that is none": (
        ["def counts(self, items, said): return [[1.0]] * len(items)", "def pooled(self, totals): return None"],
        "the score is not a finite number"),
}  # fmt: skip


@pytest.mark.parametrize(("lines", "says"), WRONG.values(), ids=WRONG)
def test_what_a_metric_must_not_return(tmp_path: Path, lines: list[str], says: str) -> None:
    with pytest.raises(TrexError, match=says) as refused:
        try_metric(films_task(tmp_path, metric=own(tmp_path, *lines)))
    assert "\n" not in str(refused.value) and "metric '" in str(refused.value)


def test_what_a_metric_may_return(tmp_path: Path, fresh_home: Path) -> None:
    """Numbers of any kind, and an iterator; a plain metric passes in its own process."""
    check_metric(films_task(tmp_path, metric=own(tmp_path)))

    class Numbers:
        name = "numbers"

        def score_items(self, items: Sequence[Item], predictions: Sequence[str]) -> Any:
            import numpy as np

            return iter([True, 2, np.float32(0.5), np.array(3.0)])

        def aggregate(self, values: Sequence[float]) -> float:
            return max(values)

        def secondary(self, items: Sequence[Item], predictions: Sequence[str]) -> dict[str, float]:
            return {}

    items: list[Item] = [{"id": str(number)} for number in range(4)]
    assert measure(Numbers(), items, [""] * 4).values == [1.0, 2.0, 0.5, 3.0]


@pytest.mark.skipif(not landlock.abi(), reason="this kernel has no Landlock, so nothing is confined")
def test_a_metric_has_the_rights_of_the_grader(
    tmp_path: Path, fresh_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No keys, no UDP, no files: neither when it is tried nor in the grader. It reports what it could do."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-run")
    lines = [
        "def could(self, action):",
        "    try: action()",
        "    except OSError: return 0.0",
        "    return 1.0",
        "def secondary(self, items, said):",
        "    return {",
        "        'key': float('OPENAI_API_KEY' in os.environ),",
        f"        'environ': self.could(lambda: open('/proc/{os.getpid()}/environ').read()),",
        "        'udp': self.could(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)),",
        f"        'write': self.could(lambda: open({str(tmp_path / 'mark')!r}, 'w')),",
        "        'own': self.could(lambda: open('own', 'w')),",
        "    }",
    ]
    task = films_task(tmp_path, metric=own(tmp_path, *lines))
    check_metric(task)
    program = [sys.executable, str(SUPPORT / "grader.py")]
    with GraderClient(task, tmp_path / "run", model_folder(tmp_path), command=program) as grader:
        found = grader.evaluate(None, "search", 5).secondary
    assert found == {"key": 0.0, "environ": 0.0, "udp": 0.0, "write": 0.0, "own": 1.0}
    assert not (tmp_path / "mark").exists()
