"""A user's metric is loaded and tried before a run begins, in a process of its own with the grader's rights.

`python -m trex.evaluation.grader.metric_trial` reads one `_Trial` from standard input and answers a `GraderResponse`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from pydantic import BaseModel, ValidationError

from ...errors import InputError, TrexError
from ..metrics import JudgedMetric, is_ours, measure, metric
from ..metrics.judging import JudgedAnswer
from ..metrics.measure import call, described
from ..splits import dev_items
from ..statistics.intervals import score_measured
from ..task import Task
from .client import absolute_import_path, grader_environment
from .messages import GraderResponse
from .model_scoring import refuse_choices
from .process import claim_output
from .restrictions import restrict_writing
from .watchdog import end_with_input

ITEMS = 50
"""Items of dev that a metric is tried on."""

PATIENCE_S = 300.0
_RESAMPLES = 50


class _Trial(BaseModel):
    task: Task
    import_path: list[str]


def check_metric(task: Task) -> None:
    """Load the task's metric; one of the user's is also tried on items of dev. Raises InputError.

    A metric of this package is loaded here. Another one runs in a process of its own, so that it may exit, crash or
    never return: its answers are the references, and empty texts.
    """
    if is_ours(task.metric):
        refuse_choices(task, metric(task.metric))
        return
    with tempfile.TemporaryDirectory(prefix="trex-metric-") as name:
        place = Path(name).resolve()
        text, log, code = _run(task, place)
    try:
        error = GraderResponse.model_validate_json(text).error
    except ValidationError:
        how = (
            f"took more than {PATIENCE_S:.0f} s" if code is None else f"ended its process (exit code {code})"
        )
        said = log.strip().splitlines()[-1:] or ["nothing on standard error"]
        error = f"metric {task.metric!r} {how} when it was tried on {ITEMS} items of dev: {said[0]}"
    if error is not None:
        raise InputError(error)


def try_metric(task: Task) -> None:
    """Load and try a metric in this process. Raises TrexError."""
    found, items = metric(task.metric), dev_items(task)[:ITEMS]
    if isinstance(found, JudgedMetric):  # without a judge only what it asks can be seen
        call(found.name, "questions", found.questions, [JudgedAnswer(item, "", "", "") for item in items])
        return
    for answers in ([str(item["reference"]) for item in items], [""] * len(items)):
        score_measured(found, measure(found, items, answers), resamples=_RESAMPLES)


def _run(task: Task, place: Path) -> tuple[str, str, int | None]:
    """The answer, the log and the exit code of the process; no code if it was killed because it took too long."""
    trial = _Trial(
        task=task.model_copy(update={"dev": task.dev.absolute(), "test": task.test.absolute()}),
        import_path=absolute_import_path(),
    )
    answer, log = place / "answer.json", place / "log.txt"
    code: int | None = None
    with answer.open("wb") as output, log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=errors,
            cwd=place,
            env=grader_environment(threads=1) | {"TMPDIR": str(place)},
            start_new_session=True,
        )
        assert process.stdin is not None
        try:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(trial.model_dump_json().encode() + b"\n")
                process.stdin.flush()  # it stays open: at its end the process would be killed
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = process.wait(PATIENCE_S)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
    return _text(answer), _text(log), code


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def main() -> None:
    """The process."""
    end_with_input()
    replies = claim_output()
    trial = _Trial.model_validate_json(sys.stdin.readline())
    sys.path.extend(entry for entry in trial.import_path if entry not in sys.path)
    restrict_writing([Path.cwd()])
    error: str | None = None
    try:
        try_metric(trial.task)
    except TrexError as problem:
        error = " ".join(str(problem).split())
    except BaseException as problem:
        error = f"metric {trial.task.metric!r} failed: {described(problem)}"
    replies.write(GraderResponse(number=0, error=error).model_dump_json() + "\n")
    replies.flush()
    os._exit(0)  # not past what a metric registered for the exit


if __name__ == "__main__":
    main()
