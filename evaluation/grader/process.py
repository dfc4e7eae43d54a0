"""The grader process: `python -m trex.evaluation.grader.process`, spoken to over standard input and output.

It exits as soon as its standard input ends, so it never outlives the run, whatever it is doing. Where the kernel
has Landlock, it writes nowhere but in the run directory, and speaks no TCP: models' answers and adapters come from
training, and a metric may be anybody's.
"""

from __future__ import annotations

import errno
import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from pydantic import ValidationError

from ... import landlock
from ...errors import InputError, IntegrityError, PlanError, TrexError
from ...home import home
from .messages import ErrorKind, Open, Request, Response
from .service import Answerer, GraderService

MakeAnswerer = Callable[[Open], Answerer]


def serve(make_answerer: MakeAnswerer) -> None:
    """Answer requests until standard input ends.

    Standard output belongs to the protocol: whatever a library prints goes to standard error, the log.
    """
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    first = sys.stdin.readline()
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    try:
        opening = Open.model_validate_json(first)
        _confine(opening)  # before there is a second thread, which would stay free
        threading.Thread(target=_listen, args=(lines,), daemon=True).start()
        answerer = make_answerer(opening)
        grading = GraderService(opening, answerer)
    except Exception as error:
        _reply(replies, _failure(0, error))
        return
    # Weights load while the run does something else; a failure shows again at the first evaluation.
    threading.Thread(target=_warm_up, args=(answerer,), daemon=True).start()
    _reply(replies, Response(number=0))
    while True:
        line = lines.get()
        try:
            request = Request.model_validate_json(line)
        except ValidationError as error:
            _reply(replies, _failure(0, InputError(f"no request: {error.errors()[0]['msg']}")))
            continue
        try:
            _reply(replies, answer(grading, request))
        except Exception as error:
            _reply(replies, _failure(request.number, error))


def answer(grading: GraderService, request: Request) -> Response:
    """Do what a request asks."""
    number = request.number
    if request.action == "evaluate":
        evaluation = grading.evaluate(request.adapter, request.split, request.limit, request.scoring)
        return Response(number=number, evaluation=evaluation)
    if request.action == "check_contamination":
        if request.dataset is None:
            raise InputError("a contamination check needs a data set")
        return Response(number=number, contamination=grading.check_contamination(request.dataset))
    if request.action == "seal":
        return Response(number=number, freeze=grading.seal(request.adapter))
    if request.action == "check_regressions":
        if request.adapter is None:
            raise InputError("guards compare an adapter with the base model")
        return Response(number=number, regression_checks=grading.check_regressions(request.adapter))
    winner, baseline = grading.score_test()
    return Response(number=number, evaluation=winner, baseline=baseline)


def _confine(opening: Open) -> None:
    """Reading stays free: a metric, its libraries and its tables may lie anywhere."""
    written = [opening.run_dir, home() / "models"]
    for folder in written:
        folder.mkdir(parents=True, exist_ok=True)  # what isn't there can't be granted
    places = [*written, Path("/dev/shm"), *landlock.devices()]
    try:
        version = landlock.restrict([(place, landlock.CHANGE) for place in places], landlock.CHANGE)
    except OSError as error:
        print(error, file=sys.stderr)
        version = 0
    print(f"writing: {landlock.describe(version)}", file=sys.stderr)


def _listen(lines: queue.SimpleQueue[str]) -> None:
    for line in sys.stdin:
        lines.put(line)
    os._exit(0)


def _warm_up(answerer: Answerer) -> None:
    try:
        answerer.load()
    except TrexError as error:
        print(f"loading ahead failed: {error}", file=sys.stderr)


def _reply(replies: TextIO, response: Response) -> None:
    replies.write(response.model_dump_json() + "\n")
    replies.flush()


def _failure(number: int, error: Exception) -> Response:
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
    elif isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        kind = "DiskFull"
    message = str(error)
    if not isinstance(error, TrexError):
        message = f"the grader failed: {type(error).__name__}: {message}; see grader.log"
    return Response(number=number, error=" ".join(message.split()), error_kind=kind)


def _real_model(opening: Open) -> Answerer:
    from ..engines.transformers_engine import Scorer

    return Scorer(opening.base_model, opening.threads)


if __name__ == "__main__":
    serve(_real_model)
