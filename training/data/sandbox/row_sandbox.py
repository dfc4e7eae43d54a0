"""Rows through a function in a sandboxed process, with limits of time, memory and output."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .... import landlock, privileges
from ....errors import PlanError
from . import row_process

MEMORY = 512 << 20
"""Bytes of address space."""
ROW_SECONDS = 10.0
"""Wall time for one row."""
STEP_SECONDS = 600.0
"""Wall time for all rows of a step."""
CPU_SECONDS = 600
MOST_OUTPUT = 1 << 20
"""Bytes made of one row."""
MOST_STOPPED = 3
"""Rows that may stop the process; then the step fails."""
START_SECONDS = 60.0


@dataclass(frozen=True)
class RowResult:
    """The rows made of one row, or why there are none."""

    rows: tuple[dict[str, Any], ...] = ()
    fault: str = ""


def run_rows(
    code: str,
    rows: Sequence[dict[str, Any]],
    seed: int = 0,
    row_seconds: float = ROW_SECONDS,
    step_seconds: float = STEP_SECONDS,
) -> list[RowResult]:
    """Call `row(row)` of the code for each row, in its order; `seed` and the row's number seed `random`.

    A row on which the function fails, or that takes too much, has a fault. Raises PlanError where the process cannot be
    confined, for code without the function, if several rows stop the process, and if all take more than `step_seconds`.
    """
    deadline = time.monotonic() + step_seconds
    lines = [
        json.dumps([f"{seed}/{number}", row], ensure_ascii=True, default=str) + "\n"
        for number, row in enumerate(rows)
    ]
    found: list[RowResult] = []
    stopped = 0
    while len(found) < len(lines):
        with _Process(code, lines[len(found) :], row_seconds, deadline) as process:
            for result in process.results():
                found.append(result)
        if len(found) < len(lines):
            if time.monotonic() >= deadline:
                raise PlanError(
                    f"the code did {len(found):,} of {len(lines):,} rows in the {max(step_seconds, 0):,.0f} s that it "
                    "may take: make it faster, or use fewer rows (`sample`)"
                )
            stopped += 1
            if stopped > MOST_STOPPED:
                raise PlanError(
                    f"{stopped} rows stopped the process; the last: {process.end}: correct the code"
                )
            found.append(RowResult(fault=process.end))
    return found


class _Process:
    """One sandboxed process, and the rows that it gets."""

    def __init__(self, code: str, lines: Sequence[str], row_seconds: float, deadline: float) -> None:
        self.end = ""
        self._deadline = deadline
        self._lines, self._row_seconds, self._buffer = lines, row_seconds, b""
        paths = [str(Path(str(module.__file__))) for module in (row_process, landlock, privileges)]
        self._child = subprocess.Popen(
            [sys.executable, "-B", "-P", "-S", "-s", *paths],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"PYTHONHASHSEED": "0", "PYTHONUTF8": "1"},
            cwd="/",
            start_new_session=True,
        )
        order = json.dumps({"code": code, "memory": MEMORY, "seconds": CPU_SECONDS}) + "\n"
        self._writer = threading.Thread(target=self._write, args=(order,), daemon=True)

    def __enter__(self) -> _Process:
        self._writer.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._child.kill()
        self._child.wait()
        assert self._child.stdin is not None and self._child.stdout is not None
        with suppress(OSError):
            self._child.stdin.close()
        self._child.stdout.close()
        self._writer.join()

    def results(self) -> Iterator[RowResult]:
        """The results up to the last one, or up to the row that stops the process. Raises PlanError."""
        ready = self._line(START_SECONDS)
        if ready is None:
            raise PlanError(f"the process for Python code did not start: {self.end}")
        if not ready.get("ready"):
            raise PlanError(
                f"Python code is not run here, because it cannot be confined: {ready.get('fault')}"
            )
        for _ in self._lines:
            answer = self._line(min(self._row_seconds, self._deadline - time.monotonic()))
            if answer is None:
                return
            if answer.get("code"):
                raise PlanError(f"the code cannot be run: {str(answer.get('fault'))[:300]}")
            made = answer.get("rows")
            if isinstance(made, list) and all(isinstance(each, dict) for each in made):
                yield RowResult(tuple(made))
            else:
                yield RowResult(fault=str(answer.get("fault"))[:300])

    def _line(self, seconds: float) -> dict[str, Any] | None:
        """The next line as an object; None, with `end` set, if none comes."""
        assert self._child.stdout is not None
        handle, deadline = self._child.stdout.fileno(), time.monotonic() + seconds
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([handle], [], [], left)[0]:
                self.end = f"no result in {seconds:g} s"
                return None
            part = os.read(handle, 1 << 16)
            self._buffer += part
            if not part or len(self._buffer) > MOST_OUTPUT:
                self.end = f"more than {MOST_OUTPUT >> 20} MiB from one row" if part else "the process ended"
                return None
        line, _, self._buffer = self._buffer.partition(b"\n")
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            found = None
        return found if isinstance(found, dict) else {"fault": "the result is no JSON object"}

    def _write(self, order: str) -> None:
        assert self._child.stdin is not None
        with suppress(OSError, ValueError):  # the process ended, or was ended
            for line in (order, *self._lines):
                self._child.stdin.write(line.encode())
                self._child.stdin.flush()
