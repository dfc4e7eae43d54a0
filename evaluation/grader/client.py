"""The grader as the run sees it: a protocol, and the client of the process that implements it.

The process holds the base model once and swaps adapters; it alone reads the test split. It is started with a
scrubbed environment in an empty folder of its own, repeats nothing that is finished, and is restarted when it dies.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol, Self, TypeVar

from ...errors import InputError, IntegrityError, PlanError, TrexError
from ...home import home
from ..engines import DEFAULT_ENGINE
from ..metrics.judging import Judge, JudgeReply, TooManyUnjudged
from ..results import ContaminationReport, Evaluation, RegressionCheck
from ..task import Task
from .messages import Action, ErrorKind, Freeze, GraderRequest, GraderResponse, GraderSetup, Scoring

T = TypeVar("T")

TRIES = 3
_NO_SPACE = 16_384
"""With fewer bytes left a grader cannot write its log, and dies before it can answer."""
ERRORS: dict[ErrorKind, type[TrexError]] = {
    "TrexError": TrexError,
    "InputError": InputError,
    "PlanError": PlanError,
    "IntegrityError": IntegrityError,
    "TooManyUnjudged": TooManyUnjudged,
}
KEPT_ENVIRONMENT = (
    "PATH",
    "HOME",
    "TREX_HOME",
    "XDG_CACHE_HOME",
    "LANG",
    "TMPDIR",
    "CUDA_VISIBLE_DEVICES",
    "LD_LIBRARY_PATH",
    "VIRTUAL_ENV",
)


class Grader(Protocol):
    """Scores models on the task's splits. Safe to call from threads; calls are served one at a time."""

    def start(self) -> None:
        """Start the process, which loads in the background, and return at once. Every other call starts it too."""
        ...

    def evaluate(
        self, adapter: Path | None, split: str, limit: int | None = None, scoring: Scoring = "auto"
    ) -> Evaluation:
        """Score an adapter (None: the base model) on 'search' or 'confirm', on its first `limit` items.

        The same call again returns the stored evaluation. Raises InputError for the test split and for
        unknown splits, IntegrityError for an adapter that is not a plain LoRA adapter of the base model.
        """
        ...

    def check_contamination(self, dataset: Path) -> ContaminationReport:
        """Compare `dataset`/train.jsonl with all dev and test items."""
        ...

    def seal(self, winner: Path | None) -> Freeze:
        """Fix the winner before the test split is opened.

        Raises IntegrityError if it was opened for another one.
        """
        ...

    def score_test(self) -> tuple[Evaluation, Evaluation]:
        """The sealed winner and the baseline on the test split. Raises IntegrityError before `seal`."""
        ...

    def check_regressions(self, winner: Path) -> list[RegressionCheck]:
        """What the winner may have lost against the base model: see `regression_checks`."""
        ...

    def close(self) -> None:
        """Stop the process, if there is one."""
        ...


class GraderClient:
    """The `Grader` in a process of its own.

    `engine` is the registered name of the inference engine, `threads` how many CPU threads it uses. `judge` is asked
    here: the grader's process has neither its key nor a network. `command` replaces the program that is started, by one
    that implements `messages`. The process never outlives the run: it exits when its standard input ends.
    """

    def __init__(
        self,
        task: Task,
        run_dir: Path,
        base_model: Path,
        *,
        threads: int = 1,
        engine: str = DEFAULT_ENGINE,
        judge: Judge | None = None,
        command: Sequence[str] | None = None,
    ) -> None:
        self._setup = GraderSetup(
            task=task.model_copy(update={"dev": task.dev.absolute(), "test": task.test.absolute()}),
            run_dir=run_dir.absolute(),
            base_model=base_model.absolute(),
            engine=engine,
            threads=threads,
            import_path=absolute_import_path(),
            judge=None if judge is None else judge.name,
        )
        self._judge = judge
        # -P keeps the working directory from shadowing installed modules.
        self._command = list(command or (sys.executable, "-P", "-m", "trex.evaluation.grader.process"))
        self._log = run_dir.absolute() / "grader.log"
        self._workplace = run_dir.absolute() / "grader"
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._greeted = False
        self._closed = False
        self._number = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """The process's id, None when it isn't running."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def start(self) -> None:
        with self._lock:
            self._ensure_started()

    def evaluate(
        self, adapter: Path | None, split: str, limit: int | None = None, scoring: Scoring = "auto"
    ) -> Evaluation:
        if split == "test":
            raise InputError(
                "the test split is scored once, by the grader, after the winner is sealed: "
                "evaluate on 'search' or 'confirm'"
            )
        answer = self._ask("evaluate", adapter=_absolute(adapter), split=split, limit=limit, scoring=scoring)
        return _present(answer.evaluation)

    def check_contamination(self, dataset: Path) -> ContaminationReport:
        return _present(self._ask("check_contamination", dataset=dataset.absolute()).contamination)

    def seal(self, winner: Path | None) -> Freeze:
        return _present(self._ask("seal", adapter=_absolute(winner)).freeze)

    def score_test(self) -> tuple[Evaluation, Evaluation]:
        answer = self._ask("score_test")
        return _present(answer.evaluation), _present(answer.baseline)

    def check_regressions(self, winner: Path) -> list[RegressionCheck]:
        return _present(self._ask("check_regressions", adapter=_absolute(winner)).regression_checks)

    def close(self) -> None:
        self._closed = True
        if self._judge is not None:
            self._judge.close()
        process = self._process
        if process is not None and process.poll() is None:
            _kill(process)

    def _ask(self, action: Action, **fields: Any) -> GraderResponse:
        with self._lock:
            self._number += 1
            request = GraderRequest(number=self._number, action=action, **fields)
            for _ in range(TRIES):
                self._ensure_started()
                answer = self._exchange(request)
                if answer is not None:
                    return _checked(answer)
            code = self._process.wait() if self._process else None
        if shutil.disk_usage(self._log.parent).free < _NO_SPACE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._log.parent))
        raise TrexError(f"the grader died {TRIES} times in a row (exit code {code}); its log: {self._log}")

    def _exchange(self, request: GraderRequest) -> GraderResponse | None:
        """Send and wait; None means that the process died. An interrupted exchange ends the process."""
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None
        refused: Exception | None = None
        try:
            if not self._greeted:
                greeting = _read(process.stdout, 0)
                if greeting is None:
                    self._end(process)
                    return None
                _checked(greeting)
                self._greeted = True
            _send(process.stdin, request)
            answer = _read(process.stdout, request.number)
            while answer is not None and answer.questions is not None:
                judged = GraderRequest(number=request.number, action="judged")
                try:
                    judged = judged.model_copy(update={"replies": self._judged(request, answer)})
                except Exception as error:  # the grader goes on to the next request
                    refused = error
                _send(process.stdin, judged)
                answer = _read(process.stdout, request.number)
        except (OSError, ValueError):  # the pipe broke, or `close` closed it
            answer = None
        except BaseException:
            _kill(process)
            raise
        if refused is not None:
            if answer is None:
                _kill(process)
            raise refused
        if answer is None:
            self._end(process)
        return answer

    def _judged(self, request: GraderRequest, asked: GraderResponse) -> list[JudgeReply]:
        if self._judge is None:
            raise InputError("the task's metric needs a judge, and this run has none")
        return self._judge.ask(
            asked.questions or [], asked.allowed, request.action == "evaluate" and request.split == "search"
        )

    def _end(self, process: subprocess.Popen[str]) -> None:
        _kill(process)
        if self._closed:
            raise TrexError("the grader was closed while it worked")

    def _ensure_started(self) -> None:
        if self._closed:
            raise TrexError("this grader is closed; make a new one")
        if self._process is not None and self._process.poll() is None:
            return
        # Empty, and not the user's working directory: nothing is imported or read from there by accident.
        shutil.rmtree(self._workplace, ignore_errors=True)
        self._workplace.mkdir(parents=True)
        with self._log.open("a", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                encoding="utf-8",
                cwd=self._workplace,
                env=grader_environment(self._setup.threads) | {"TMPDIR": str(self._workplace)},
                start_new_session=True,
            )
        self._greeted = False
        assert self._process.stdin is not None
        # A process that has died already is noticed at the first request.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(self._setup.model_dump_json() + "\n")
            self._process.stdin.flush()


def absolute_import_path() -> list[str]:
    """`sys.path` for a process in another folder."""
    return [str(Path(entry).absolute()) for entry in sys.path]


def grader_environment(threads: int) -> dict[str, str]:
    """The environment of the process: no keys, no hub. Idle threads sleep, because training runs at the same time."""
    kept = {name: os.environ[name] for name in KEPT_ENVIRONMENT if name in os.environ}
    count = str(threads)
    return kept | {
        "TREX_HOME": str(home()),
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
        "OMP_WAIT_POLICY": "PASSIVE",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "PYTHONUTF8": "1",
    }


def _send(stream: IO[str], request: GraderRequest) -> None:
    stream.write(request.model_dump_json() + "\n")
    stream.flush()


def _read(stream: IO[str], number: int) -> GraderResponse | None:
    line = stream.readline()
    if not line.endswith("\n"):
        return None
    try:
        answer = GraderResponse.model_validate_json(line)
    except ValueError as error:
        raise TrexError(f"invalid response from the grader: {line[:200]!r}") from error
    if answer.number != number:
        raise TrexError(f"the grader answered request {answer.number} instead of request {number}")
    return answer


def _checked(answer: GraderResponse) -> GraderResponse:
    if answer.error is not None:
        if answer.error_kind == "DiskFull":
            raise OSError(errno.ENOSPC, answer.error)
        raise ERRORS[answer.error_kind](answer.error)
    return answer


def _present(part: T | None) -> T:
    if part is None:
        raise TrexError("invalid response from the grader: the result is missing")
    return part


def _absolute(path: Path | None) -> Path | None:
    return None if path is None else path.absolute()


def _kill(process: subprocess.Popen[str]) -> None:
    """End the process and its session, and close our ends of its pipes."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
