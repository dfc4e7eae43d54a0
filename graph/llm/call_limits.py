"""What ends the calls of a run early: its deadline, a person, an interruption, a server that has failed before."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TypeVar

from ...errors import Interrupted
from .protocol import ModelError

Result = TypeVar("Result")

POLL_S = 0.1
"""How often a waiting call looks for a request to end, in seconds."""

GRACE_S = 2.0
"""A client that keeps to its own time-out ends by itself within this time after it, in seconds."""


@dataclass
class CallLimits:
    """Shared by the chat models of a run.

    `deadline` is in Unix time, None without one. `stopping`: a person asked for the end at once. `sleep` replaces the
    waits between attempts in tests.
    """

    deadline: Callable[[], float | None] = lambda: None
    stopping: Callable[[], bool] = lambda: False
    sleep: Callable[[float], None] | None = None
    failing: set[str] = field(default_factory=set)
    """Models whose last task ended with a failing server: the next task makes one attempt."""
    _interrupted: threading.Event = field(default_factory=threading.Event)

    def interrupt(self) -> None:
        """End the calls that are waiting; the run can be resumed."""
        self._interrupted.set()

    def check(self) -> None:
        """Raises Interrupted, and ModelError if no call may begin any more."""
        if self._interrupted.is_set():
            raise Interrupted
        if self.stopping():
            raise ModelError("a person asked for the end of the run")
        if not self.allows(0.0):
            raise ModelError("the time budget of the run is used up")

    def allows(self, seconds: float) -> bool:
        """Whether a wait of so many seconds ends before the deadline."""
        deadline = self.deadline()
        return deadline is None or time.time() + seconds < deadline

    def wait(self, seconds: float) -> None:
        """Wait. Raises as `check` does as soon as there is a reason."""
        if self.sleep is not None:
            self.sleep(seconds)
            return
        ends = time.monotonic() + seconds
        while (left := ends - time.monotonic()) > 0:
            self.check()
            self._interrupted.wait(min(POLL_S, left))

    def run(self, call: Callable[[], Result], timeout_s: float) -> Result:
        """The result of `call`, made in a thread that is left behind if it has to end early.

        Raises TimeoutError after `timeout_s`, Interrupted, ModelError if a person asks for the end.
        """
        future: Future[Result] = Future()
        context = contextvars.copy_context()  # with the callbacks of the graph

        def work() -> None:
            try:
                future.set_result(context.run(call))
            except BaseException as error:
                future.set_exception(error)

        threading.Thread(target=work, name="model call", daemon=True).start()
        ends = time.monotonic() + timeout_s + GRACE_S
        while True:
            try:
                return future.result(POLL_S)
            except TimeoutError:
                if future.done():
                    raise
            if self._interrupted.is_set() or self.stopping():
                self.check()
            if time.monotonic() > ends:
                raise TimeoutError
