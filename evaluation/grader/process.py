"""The grader process, `python -m trex.evaluation.grader.process`: requests on standard input, responses on output.

It exits when its standard input ends, and `watchdog` kills it if it cannot, so it does not outlive the run. Where the
kernel has Landlock, it can write in the run directory only and has no network: answers and adapters come from training,
and a metric may be code of the user.
"""

from __future__ import annotations

import errno
import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TextIO

from pydantic import ValidationError

from ...errors import InputError, IntegrityError, PlanError, TrexError
from ...home import home
from ..engines import ENGINES, InferenceEngine
from ..metrics.judging import Ask, JudgeQuestion, JudgeReply, TooManyUnjudged
from .messages import ErrorKind, GraderRequest, GraderResponse, GraderSetup
from .restrictions import restrict_writing
from .service import GraderService
from .watchdog import end_with_input

MakeEngine = Callable[[GraderSetup], InferenceEngine]


def serve(make_engine: MakeEngine) -> None:
    """Answer requests until standard input ends.

    Standard output carries responses only: whatever a library prints goes to standard error, the log.
    """
    end_with_input()
    replies = claim_output()
    first = sys.stdin.readline()
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    try:
        setup = GraderSetup.model_validate_json(first)
        sys.path.extend(entry for entry in setup.import_path if entry not in sys.path)
        # Before there is a second thread, which would stay unrestricted.
        restrictions = restrict_writing([setup.run_dir, home() / "models"])
        print(f"writing: {restrictions}", file=sys.stderr)
        threading.Thread(target=_listen, args=(lines,), daemon=True).start()
        engine = make_engine(setup)
        service = GraderService(setup, engine)
    except BaseException as error:  # an engine, too, may exit
        _reply(replies, _failure(0, error))
        return
    # Weights load while the run does something else; an error is raised again at the first evaluation.
    threading.Thread(target=_load_ahead, args=(engine,), daemon=True).start()
    _reply(replies, GraderResponse(number=0))
    while True:
        line = lines.get()
        try:
            request = GraderRequest.model_validate_json(line)
        except ValidationError as error:
            _reply(replies, _failure(0, InputError(f"no valid request: {error.errors()[0]['msg']}")))
            continue
        try:
            _reply(replies, answer(service, request, _asking(replies, lines, request.number)))
        except BaseException as error:
            _reply(replies, _failure(request.number, error))


def claim_output() -> TextIO:
    """Standard output for responses alone: what a library or a metric prints goes to standard error."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return replies


def answer(service: GraderService, request: GraderRequest, ask: Ask) -> GraderResponse:
    """Do what a request asks; `ask` reaches the judge."""
    number, service.ask = request.number, ask
    if request.action == "evaluate":
        evaluation = service.evaluate(request.adapter, request.split, request.limit, request.scoring)
        return GraderResponse(number=number, evaluation=evaluation)
    if request.action == "check_contamination":
        if request.dataset is None:
            raise InputError("a contamination check needs a data set")
        return GraderResponse(number=number, contamination=service.check_contamination(request.dataset))
    if request.action == "seal":
        return GraderResponse(number=number, freeze=service.seal(request.adapter))
    if request.action == "check_regressions":
        if request.adapter is None:
            raise InputError("regression checks compare an adapter with the base model")
        return GraderResponse(number=number, regression_checks=service.check_regressions(request.adapter))
    if request.action == "judged":
        raise InputError("the grader asked the judge nothing")
    winner, baseline = service.score_test()
    return GraderResponse(number=number, evaluation=winner, baseline=baseline)


def _asking(replies: TextIO, lines: queue.SimpleQueue[str], number: int) -> Ask:
    """Asks the judge through the client, in the course of the request of that number."""

    def ask(questions: Sequence[JudgeQuestion], allowed: int) -> list[JudgeReply]:
        _reply(replies, GraderResponse(number=number, questions=list(questions), allowed=allowed))
        judged = GraderRequest.model_validate_json(lines.get())
        if judged.action != "judged" or judged.number != number:
            raise TrexError(f"questions for the judge were answered with {judged.action!r}")
        if judged.replies is None or len(judged.replies) != len(questions):
            raise TrexError("the judge could not be asked")
        return judged.replies

    return ask


def _listen(lines: queue.SimpleQueue[str]) -> None:
    for line in sys.stdin:
        lines.put(line)
    os._exit(0)


def _load_ahead(engine: InferenceEngine) -> None:
    try:
        engine.load()
    except TrexError as error:
        print(f"loading ahead failed: {error}", file=sys.stderr)


def _reply(replies: TextIO, response: GraderResponse) -> None:
    replies.write(response.model_dump_json() + "\n")
    replies.flush()


def _failure(number: int, error: BaseException) -> GraderResponse:
    with suppress(OSError):  # the log's disk may be full
        traceback.print_exception(error, file=sys.stderr)
        sys.stderr.flush()
    kind: ErrorKind = "TrexError"
    if isinstance(error, InputError):
        kind = "InputError"
    elif isinstance(error, IntegrityError):
        kind = "IntegrityError"
    elif isinstance(error, PlanError):
        kind = "PlanError"
    elif isinstance(error, TooManyUnjudged):
        kind = "TooManyUnjudged"
    elif isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        kind = "DiskFull"
    message = str(error)
    if not isinstance(error, TrexError):
        message = f"the grader failed: {type(error).__name__}: {message}; see grader.log"
    # A surrogate that stands alone, from a file name, is no JSON.
    line = " ".join(message.split()).encode("utf-8", "backslashreplace").decode()
    return GraderResponse(number=number, error=line, error_kind=kind)


def _engine(setup: GraderSetup) -> InferenceEngine:
    return ENGINES.load(setup.engine)(setup.base_model, setup.threads, setup.task.rendering)


if __name__ == "__main__":
    serve(_engine)
