"""A trial's folder as its readers see it: the job runner, a resumed run, a person. Layout: see `job`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from ...errors import IntegrityError
from ...files import hash_folder, is_locked, read_json, read_regular, write_atomic
from ..causes import Cause
from .job import Job, JobFailed, JobResult, JobStatus, Trial

_Model = TypeVar("_Model", bound=BaseModel)

# Causes that a later start may survive. Every other cause belongs to the trial and is returned again.
_PASSING: frozenset[Cause] = frozenset({"cancelled", "disk_full"})


class Failure(BaseModel, frozen=True):
    """Why a rung has no result: `rungs/<n>/failure.json` by the worker, `cause.json` by who stopped the worker.

    A lasting failure answers every later submission of the job, so that a resumed run repairs the trial just
    as the run before it would have; one that does not last is forgotten when the job is started again.
    """

    rung: int
    cause: Cause
    message: str
    lasting: bool = True
    stage: int | None = None

    @classmethod
    def of(cls, rung: int, cause: Cause, message: str, stage: int | None = None) -> Failure:
        """A failure that lasts unless its cause is one that passes by itself."""
        return cls(rung=rung, cause=cause, message=message, lasting=cause not in _PASSING, stage=stage)

    @property
    def error(self) -> JobFailed:
        """The failure as an exception."""
        return JobFailed(self.cause, self.message, self.stage)


@dataclass(frozen=True)
class TrialFolder:
    """The files of one trial. Reading never disturbs a worker."""

    path: Path

    @property
    def plan_file(self) -> Path:
        return self.path / "plan.json"

    @property
    def status_file(self) -> Path:
        return self.path / "status.json"

    @property
    def log_file(self) -> Path:
        return self.path / "log.txt"

    @property
    def lock_file(self) -> Path:
        return self.path / "lock"

    @property
    def cause_file(self) -> Path:
        return self.path / "cause.json"

    def rung(self, rung: int) -> Path:
        return self.path / "rungs" / str(rung)

    def adapter(self, rung: int) -> Path:
        return self.rung(rung) / "adapter"

    def failure_file(self, rung: int) -> Path:
        return self.rung(rung) / "failure.json"

    def write_plan(self, trial: Trial) -> None:
        """Write plan.json unless it is there. Raises IntegrityError if the folder belongs to another trial."""
        if not self.plan_file.exists():
            write_atomic(self.plan_file, trial.model_dump_json(indent=1) + "\n")
        elif (other := self.read_plan().id) != trial.id:
            raise IntegrityError(f"{self.path} belongs to trial {other}, not {trial.id}: use another folder")

    def read_plan(self) -> Trial:
        return Trial.model_validate(read_json(self.plan_file))

    def read_status(self) -> JobStatus | None:
        """The newest status, None before a worker wrote one."""
        return _read(self.status_file, JobStatus)

    def read_failure(self, rung: int) -> Failure | None:
        """Why that rung failed, by its worker."""
        return _of_rung(self.failure_file(rung), rung)

    def read_cause(self, rung: int) -> Failure | None:
        """Why the worker of that rung was stopped, or was about to be stopped."""
        return _of_rung(self.cause_file, rung)

    def write_cause(self, failure: Failure) -> None:
        """Write why a worker is stopped, before it is."""
        write_atomic(self.cause_file, failure.model_dump_json(indent=1) + "\n")

    def read_result(self, job: Job) -> JobResult | None:
        """The job's result if it is complete: the right trial and step, an adapter with the recorded hash."""
        result = read_result(job.result_file)
        if result is None or (result.trial, result.step) != (job.trial.id, job.stop_step):
            return None
        return result if hash_folder(self.adapter(job.rung)) == result.adapter_hash else None

    def attempts(self, rung: int) -> int:
        """The number of starts of a worker for that rung."""
        return self._attempts().get(str(rung), 0)

    def count_attempt(self, rung: int) -> int:
        """Add one start of that rung, durably; returns the new number. Only for the holder of the lock."""
        counts = self._attempts() | {str(rung): self.attempts(rung) + 1}
        write_atomic(self._attempts_file, json.dumps(counts) + "\n")
        return counts[str(rung)]

    @property
    def _attempts_file(self) -> Path:
        return self.path / "attempts.json"

    def _attempts(self) -> dict[str, int]:
        counts: dict[str, int] = read_json(self._attempts_file) if self._attempts_file.exists() else {}
        return counts

    def locked(self) -> bool:
        """Whether a worker holds the lock; a new worker waits longer than this probe takes."""
        return is_locked(self.lock_file)

    def lock_owner(self) -> int | None:
        """The process that took the lock last, by its own account."""
        try:
            return int(self.lock_file.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None


class StatusReader:
    """Notices when a worker writes a new status of a job."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._heartbeat = 0.0

    def new(self) -> JobStatus | None:
        """The status, if it belongs to this job and is newer than the one returned before."""
        status = TrialFolder(self._job.folder).read_status()
        if status is None or status.rung != self._job.rung or status.heartbeat == self._heartbeat:
            return None
        self._heartbeat = status.heartbeat
        return status


def read_result(path: Path) -> JobResult | None:
    """A result.json; None if it is missing or incomplete."""
    return _read(path, JobResult)


def _of_rung(path: Path, rung: int) -> Failure | None:
    failure = _read(path, Failure)
    return failure if failure is not None and failure.rung == rung else None


def _read(path: Path, model: type[_Model]) -> _Model | None:
    """A model from a file; None if the file is missing or, after a power failure, incomplete."""
    try:
        return model.model_validate_json(read_regular(path))
    except (FileNotFoundError, ValidationError):
        return None
