"""`inspect_task` in a process of its own, so that a run neither holds test rows nor loads a tokenizer's libraries."""

from __future__ import annotations

import os
import subprocess
import sys

from pydantic import BaseModel, ValidationError

from ..errors import InputError, TrexError
from .base_models import HUB_ID
from .data_files import HUB
from .grader.client import absolute_import_path, grader_environment
from .task import Task
from .task_check import TaskCheck, inspect_task

_HUB = ("HF_HOME", "HF_ENDPOINT", "HTTPS_PROXY", "https_proxy", "SSL_CERT_FILE", "TREX_DATA")
_KEY = "HF_TOKEN"  # for a task with a data set or a model of the hub, and for no other


class _Order(BaseModel):
    task: Task
    import_path: list[str]


class _Outcome(BaseModel):
    check: TaskCheck | None = None
    error: str = ""


def check_files(task: Task) -> TaskCheck:
    """What a task's files hold. Raises InputError as `inspect_task` does."""
    where = {"dev": task.dev.absolute(), "test": task.test.absolute()}
    order = _Order(task=task.model_copy(update=where), import_path=absolute_import_path())
    environment = {
        name: value for name, value in grader_environment(threads=2).items() if name != "HF_HUB_OFFLINE"
    }
    given = (*_HUB, _KEY) if _of_the_hub(task) else _HUB
    done = subprocess.run(
        [sys.executable, "-P", "-m", __name__],
        input=order.model_dump_json(),
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=environment | {name: os.environ[name] for name in given if name in os.environ},
    )
    try:
        outcome = _Outcome.model_validate_json(done.stdout.rpartition("\n")[2])
    except ValidationError:
        said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise TrexError(f"task {task.name!r}: its files could not be checked: {said}") from None
    if outcome.check is None:
        raise InputError(outcome.error)
    return outcome.check


def _of_the_hub(task: Task) -> bool:
    return bool(HUB_ID.fullmatch(task.base_model)) or any(s.path.startswith(HUB) for s in task.sources)


def refuse_unusable(check: TaskCheck) -> None:
    """Raises InputError for files that cannot be used, with the counts."""
    if check.refusals:
        raise InputError("; ".join(check.refusals))


def main() -> None:
    """The process."""
    order = _Order.model_validate_json(sys.stdin.read())
    sys.path.extend(entry for entry in order.import_path if entry not in sys.path)
    try:
        outcome = _Outcome(check=inspect_task(order.task))
    except InputError as error:
        outcome = _Outcome(error=str(error))
    sys.stdout.write("\n" + outcome.model_dump_json())


if __name__ == "__main__":
    main()
