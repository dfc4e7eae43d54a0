"""The run directory: the paths of all files of a run."""

from __future__ import annotations

import errno
import importlib.metadata
import platform
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from pydantic import BaseModel, ConfigDict, Field

from ...errors import InputError, TrexError, reading
from ...evaluation.task import Task
from ...evaluation.task_check import TaskCheck
from ...files import FileLocksMissing, read_json, try_lock, write_json
from ...landlock import NOT_CONFINED
from ..report.integrity import confinement_of
from .migration import migrated
from .settings import SCHEMA_VERSION, Settings

_CLOSED = "the run cannot be opened"
PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "langgraph", "duckdb")


class RunInfo(BaseModel):
    """What identifies a run: its frozen settings, its task, when and with which versions it began."""

    model_config = ConfigDict(frozen=True)

    settings: Settings
    task: Task
    created: str = Field(description="ISO 8601")
    python: str
    versions: dict[str, str]
    confinement: str = Field(
        default=NOT_CONFINED, description="The weakest confinement of all training workers"
    )


class RunDirectory:
    """Paths of a run, its frozen settings and its task."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.run_file = path / "run.json"
        self.task_file = path / "task.json"
        self.checkpoints = path / "checkpoints.sqlite"
        self.experiments = path / "experiments.duckdb"
        self.datasets = path / "datasets"
        self.trials = path / "trials"
        self.check = path / "check.json"
        self.analysis = path / "analysis.json"
        self.research = path / "research.json"
        self.earlier_insights = path / "offered.json"
        self.calls = path / "calls.jsonl"
        self.finish = path / "finish.json"
        self.failure = path / "failure.json"
        self.tree = path / "tree.json"
        self.clock = path / "clock.json"
        self.best = path / "best"
        self.lock_file = path / "lock"

    @classmethod
    def create(cls, settings: Settings, task: Task, check: TaskCheck | None = None) -> RunDirectory:
        """Make the directory of a new run. Raises InputError if it holds one, cannot be written or locked."""
        directory = cls(settings.path)
        cls.refuse_existing(directory.path)
        missing = [path for path in (directory.path, *directory.path.parents) if not path.exists()]
        held = None
        try:
            directory.trials.mkdir(parents=True, exist_ok=True)
            directory.datasets.mkdir(exist_ok=True)
            held = try_lock(directory.lock_file)
            if held is None:
                raise directory._in_use()
            write_json(directory.task_file, task.model_dump(mode="json"))
            if check is not None:
                write_json(directory.check, check.model_dump(mode="json"))
            write_json(
                directory.run_file,
                {
                    "schema_version": SCHEMA_VERSION,
                    "settings": settings.model_dump(mode="json"),
                    "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
                    "python": platform.python_version(),
                    "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
                },
            )
        except OSError as error:
            directory._undo(missing)
            raise explain_write_error(error, directory.path, begun=False) or error from error
        except FileLocksMissing:
            directory._undo(missing)
            raise
        finally:
            if held is not None:
                held.close()
        return directory

    def _undo(self, missing: list[Path]) -> None:
        """Undo a failed creation: remove only what it made."""
        with suppress(OSError):
            for file in (self.run_file, self.task_file, self.check, self.lock_file):
                file.unlink(missing_ok=True)
            for folder in (self.trials, self.datasets, *missing):
                if folder.is_dir():
                    folder.rmdir()

    @staticmethod
    def refuse_existing(path: Path) -> None:
        """Raise InputError for a directory that holds a run."""
        if (path / "run.json").exists():
            raise InputError(
                f"{path} already holds a run: continue with `trex resume {path}`, or choose another --out"
            )

    @classmethod
    def open(cls, path: Path) -> RunDirectory:
        """A run that exists. Raises InputError."""
        directory = cls(path.absolute())
        if not directory.run_file.is_file():
            raise InputError(
                f"{path} holds no run (no run.json): start one with `trex run TASK --out {path}`"
            )
        return directory

    def info(self) -> dict[str, Any]:
        """run.json. Raises InputError if it was written by another version or is damaged."""
        with reading(self.run_file, _CLOSED):
            info = migrated("run", read_json(self.run_file))
        if info.get("schema_version") != SCHEMA_VERSION:
            raise InputError(
                f"{self.run_file} has schema version {info.get('schema_version')}, this TREX reads "
                f"{SCHEMA_VERSION}: open it with the version that made it"
            )
        return info

    def settings(self) -> Settings:
        """The frozen settings; the directory may have been moved since."""
        with reading(self.run_file, _CLOSED):
            return Settings.model_validate(self.info().get("settings", {}) | {"directory": str(self.path)})

    def task(self) -> Task:
        """The task as it was when the run began. Raises InputError if its file is damaged."""
        with reading(self.task_file, _CLOSED):
            return Task.model_validate(read_json(self.task_file))

    def run_info(self) -> RunInfo:
        """Settings, task and versions, for summaries and reports."""
        facts: dict[str, Any] = {name: self.info().get(name) for name in ("created", "python", "versions")}
        settings, task = self.settings(), self.task()
        with reading(self.run_file, _CLOSED):
            return RunInfo(settings=settings, task=task, confinement=confinement_of(self.trials), **facts)

    def read_failure(self) -> str | None:
        """Why the last process ended, None if it did not fail."""
        if not self.failure.exists():
            return None
        with reading(self.failure, "remove it, it only says why the last process ended"):
            return str(read_json(self.failure)["message"])

    def record_failure(self, error: Exception) -> None:
        """Write why the last process ended, if the directory can be written."""
        with suppress(OSError):
            write_json(self.failure, {"message": str(error) or type(error).__name__})

    def lock(self) -> IO[str]:
        """Lock the run for this process. Raises InputError if another process holds it, or without file locks."""
        try:
            held = try_lock(self.lock_file)
        except OSError as error:
            raise explain_write_error(error, self.path) or error from error
        if held is None:
            raise self._in_use()
        return held

    def _in_use(self) -> InputError:
        return InputError(f"{self.path} is in use by another TREX process: wait for it or stop it first")


def explain_write_error(error: OSError, path: Path, *, begun: bool = True) -> TrexError | None:
    """What to do about a directory that cannot be written; None for other errors."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        advice = f"then `trex resume {path}`" if begun else "or choose another --out"
        return TrexError(f"the disk of {error.filename or path} is full: free some space, {advice}")
    if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR, errno.EEXIST):
        return InputError(f"{path} cannot be written ({error.strerror}): choose another --out")
    return None
