"""A worker's side of the job protocol: lock, attempts, heartbeat, result. Does not import torch.

`work` runs any training function under it; the one that trains is in `worker`.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from ...errors import TrexError
from ...files import hash_folder, try_lock, write_atomic
from ...landlock import NOT_CONFINED
from ..causes import Cause
from .confinement import SCRATCH, confine
from .job import Job, JobFailed, JobResult, JobStatus
from .trial_folder import Failure, TrialFolder

LOCK_TAKEN = 75
"""Exit status of a worker that found another one running (EX_TEMPFAIL)."""

_LOCK_PATIENCE = 0.5  # seconds; longer than any probe of `TrialFolder.locked`
_HEARTBEAT = 2.0
_STATUS_INTERVAL = 0.25


class LockTaken(Exception):
    """Another worker holds the trial."""


class WorkerSession:
    """One worker at one job. As a context manager it holds the lock and writes the heartbeat until the end."""

    def __init__(self, folder: TrialFolder, rung: int, stop_step: int) -> None:
        self.folder = folder
        self.job = Job(trial=folder.read_plan(), rung=rung, stop_step=stop_step, folder=folder.path)
        self.started = time.monotonic()
        self.attempts = 0
        self.confinement = NOT_CONFINED
        self._lock_file: IO[str] | None = None
        self._status_lock = threading.Lock()
        self._ended = threading.Event()
        self._written = 0.0
        self._fields: dict[str, Any] = {"state": "starting"}
        self._heartbeat_thread = threading.Thread(
            target=self._write_heartbeats, name="heartbeat", daemon=True
        )

    def __enter__(self) -> WorkerSession:
        self._lock_file = _take_lock(self.folder.lock_file)
        self.attempts = self.folder.count_attempt(self.job.rung)
        self.folder.failure_file(self.job.rung).unlink(missing_ok=True)
        self._write_status()
        self._heartbeat_thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._heartbeat_thread.join()
        if self._lock_file is not None:
            self._lock_file.close()

    def update(self, **fields: Any) -> None:
        """Change fields of the status: state, step, loss, learning_rate, message.

        Written at most 4 times a second unless the state changes.
        """
        with self._status_lock:
            changed = fields.get("state", self._fields["state"]) != self._fields["state"]
            self._fields.update(fields)
            if changed or time.monotonic() - self._written >= _STATUS_INTERVAL:
                self._write_status()

    def finish(self, adapter: Path, **outcome: Any) -> JobResult:
        """Move a finished adapter to its place, then write result.json; `outcome`: fields of `JobResult`."""
        rung = self.job.rung
        place = self.folder.adapter(rung)
        self.job.result_file.unlink(missing_ok=True)
        shutil.rmtree(place, ignore_errors=True)
        place.parent.mkdir(parents=True, exist_ok=True)
        adapter.replace(place)
        result = JobResult(
            trial=self.job.trial.id,
            rung=rung,
            step=self.job.stop_step,
            adapter_hash=hash_folder(place),
            attempts=self.attempts,
            confinement=self.confinement,
            **outcome,
        )
        point_to_adapter(self.folder, rung)
        write_atomic(self.job.result_file, result.model_dump_json() + "\n")
        self.update(state="done", step=self.job.stop_step)
        return result

    def fail(self, cause: Cause, message: str) -> None:
        """Write failure.json and set the status to failed."""
        failure = Failure.of(self.job.rung, cause, message, self._fields.get("stage"))
        write_atomic(self.folder.failure_file(self.job.rung), failure.model_dump_json(indent=1) + "\n")
        self.update(state="failed", message=f"{cause}: {message}")

    def _write_heartbeats(self) -> None:
        while not self._ended.wait(_HEARTBEAT):
            with self._status_lock:
                self._write_status()

    def _write_status(self) -> None:
        status = JobStatus(
            trial=self.job.trial.id,
            rung=self.job.rung,
            stop_step=self.job.stop_step,
            total_steps=self.job.trial.total_steps,
            seconds=round(time.monotonic() - self.started, 3),
            pid=os.getpid(),
            attempts=self.attempts,
            heartbeat=time.time(),
            confinement=self.confinement,
            **self._fields,
        )
        write_atomic(self.folder.status_file, status.model_dump_json(indent=1) + "\n")
        self._written = time.monotonic()


def point_to_adapter(folder: TrialFolder, rung: int) -> None:
    """Let `adapter` in the trial's folder be a relative link to that rung's adapter, atomically."""
    link, fresh = folder.path / "adapter", folder.path / ".adapter-link"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(Path("rungs") / str(rung) / "adapter")
    fresh.replace(link)


def work(path: Path, rung: int, stop_step: int, train: Callable[[WorkerSession], None]) -> int:
    """Run one job in this process and leave its result or its failure on disk; returns the exit status.

    The process is confined first, for good, before it has a second thread and before it reads data. `train`
    ends with `session.finish`. What it raises becomes failure.json; the traceback goes to the log.
    """
    session, refusal = WorkerSession(TrialFolder(path), rung, stop_step), None
    try:
        session.confinement = confine(session.job.trial, path)
    except TrexError as error:
        refusal = JobFailed("crash", str(error))
    try:
        with session:
            if session.folder.read_result(session.job) is not None:
                return 0
            try:
                if refusal is not None:
                    raise refusal
                train(session)
            except Exception as error:
                traceback.print_exc()
                session.fail(*_explain(error))
                return 1
            finally:
                shutil.rmtree(path / SCRATCH, ignore_errors=True)
    except LockTaken:
        return LOCK_TAKEN
    return 0


def _take_lock(path: Path) -> IO[str]:
    deadline = time.monotonic() + _LOCK_PATIENCE
    while (file := try_lock(path)) is None:
        if time.monotonic() > deadline:
            raise LockTaken
        time.sleep(0.02)
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file


def _explain(error: Exception) -> tuple[Cause, str]:
    """The cause and the one line that a person reads."""
    text = " ".join(str(error).split()) or type(error).__name__
    message = text if len(text) <= 300 else text[:297] + "..."
    if isinstance(error, JobFailed):
        return error.cause, message
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "disk_full", f"no space left for the trial's files: {message}"
    if isinstance(error, MemoryError) or _is_torch_out_of_memory(error):
        return "out_of_memory", message
    return "crash", f"{type(error).__name__}: {message}"


def _is_torch_out_of_memory(error: Exception) -> bool:
    torch = sys.modules.get("torch")
    if torch is None:
        return False
    # On a CPU torch raises a plain RuntimeError that names its allocator.
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)
