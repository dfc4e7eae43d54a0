"""One process at work on one run: it holds the run's lock, drives the graph, and stops cleanly when asked to."""

from __future__ import annotations

import errno
import logging
import os
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.types import Command, StreamMode

from ...errors import InputError, Interrupted, TrexError
from ...evaluation.metrics.judging import TooManyUnjudged
from ..app import build_graph
from ..nodes import Nodes
from ..planning import MOST_REVISIONS
from ..state import RunInput
from ..steering.control import Control, RequestPoller, interrupt_main_thread
from .checkpoint_store import checkpointer, explain_database_error
from .directory import RunDirectory, explain_write_error
from .events import Follow, followed_by
from .runtime import RuntimeRegistry
from .settings import Settings

# Is given the question about a plan (`steering.approval.question`); returns a `Review` as a dictionary.
Approve = Callable[[dict[str, Any]], dict[str, Any]]

# Is given the question before an agent's turn (`llm.agent_review`); returns a `StepReview` as a dictionary, or a text.
Step = Callable[[dict[str, Any]], dict[str, Any] | str]

# Supersteps of a round besides its rungs (two each): select, direction, diagnose, record; and for the plan and each of
# its revisions plan, approve, prepare.
_STEPS_A_ROUND = 4 + 3 * (1 + MOST_REVISIONS)


class Session:
    """Holds a run for this process, with its `graph` and the `config` for it.

    `step`: the agents' turns are checkpoints, and a person is asked before each. Raises InputError if another process
    holds the run.
    """

    def __init__(
        self,
        directory: RunDirectory,
        settings: Settings,
        runtimes: RuntimeRegistry | None = None,
        *,
        step: bool = False,
    ) -> None:
        self._directory = directory
        self._settings = settings
        self._control = Control(directory.path)
        self._lock = directory.lock()
        self._runtimes = runtimes or RuntimeRegistry()
        self._open = ExitStack()
        store = self._open.enter_context(checkpointer(directory, settings))
        self.graph = build_graph(Nodes(self._runtimes, settings), store, kept=step)
        steps = (settings.rounds + 2) * (_STEPS_A_ROUND + 2 * len(settings.rungs))
        self.config: RunnableConfig = {
            "configurable": {"thread_id": settings.thread_id, "step": step},
            "recursion_limit": steps,
        }

    def run(
        self, approve: Approve | None = None, follow: Follow | None = None, step: Step | None = None
    ) -> None:
        """Go on from the last checkpoint to the end.

        Raises KeyboardInterrupt when asked to stop: jobs are cancelled and keep their checkpoints. Raises
        TrexError if the run fails; either way it can be resumed.
        """
        self._directory.failure.unlink(missing_ok=True)
        self._control.clear_pause()
        pause = interrupt_main_thread if _in_main_thread() else self._runtimes.interrupt
        try:
            with _stopping(self._runtimes), closing(RequestPoller(self._control.pauses, pause)):
                self._drive(approve, follow or (lambda event: None), step)
        except Interrupted:
            raise KeyboardInterrupt from None
        except Exception as error:
            refused = _refusal(error)
            known = refused and explain_write_error(refused, self._directory.path)
            known = known or explain_database_error(error) or _explain_unjudged(error, self._directory.path)
            raise self._failed(known or error) from error
        finally:
            self._control.clear_pause()

    def close(self) -> None:
        """Release processes, files and the run."""
        self._runtimes.close()
        self._open.close()
        self._lock.close()

    def _drive(self, approve: Approve | None, follow: Follow, step: Step | None) -> None:
        begin: RunInput = {"task": self._settings.task}
        todo: RunInput | Command[Any] | None = None if self._state().values else begin
        while True:
            with followed_by(follow):
                self._step_on(todo)
            state = self._state()
            if state.values.get("status") == "done":
                return
            if state.interrupts:
                said = {each.id: _answer(each.value, approve, step) for each in state.interrupts}
                if {"step": False} in said.values():
                    self.config["configurable"]["step"] = False
                todo = Command(resume=said)
            elif todo is begin:
                raise TrexError("the graph ended before the run did")
            else:
                # A kill can leave a checkpoint with nothing left to do. Nodes find what they had finished,
                # so the graph may begin again on the tree as it is.
                todo = begin

    def _step_on(self, todo: RunInput | Command[Any] | None) -> None:
        """To the graph's end or a question. Raises Interrupted when a person asks for a pause."""
        # A pause interrupts the main thread at once; another thread looks for the request after each step.
        asked: list[StreamMode] = [] if _in_main_thread() else ["updates"]
        steps = self.graph.stream(todo, self.config, stream_mode=asked, durability="sync")
        with closing(steps):  # type: ignore[type-var]
            for _ in steps:
                if self._control.pauses():
                    raise Interrupted

    def _state(self) -> Any:
        return self.graph.get_state(self.config)

    def _failed(self, error: Exception) -> Exception:
        self._directory.record_failure(error)
        return error


def _answer(question: dict[str, Any], approve: Approve | None, step: Step | None) -> dict[str, Any] | str:
    """The person's answer to a question of the graph. Raises InputError if there is nobody to ask."""
    if "plan" not in question:
        return step(question) if step else {"step": False}
    if approve is None:
        raise InputError("this run asks a person about every plan: give `approve`, or use the command line")
    return approve(question)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _refusal(error: BaseException | None) -> OSError | None:
    """The file system's refusal that caused an error, if there is one."""
    while error is not None:
        if isinstance(error, OSError):
            return error
        if isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode == sqlite3.SQLITE_FULL:
            return OSError(errno.ENOSPC, str(error))
        error = error.__cause__
    return None


def _explain_unjudged(error: BaseException, path: Path) -> TrexError | None:
    """What to do about a baseline or an end of the run that the judge did not judge; None for other errors."""
    if not isinstance(error, TooManyUnjudged):
        return None
    return TrexError(
        f"{error}: `trex resume {path}` asks the judge again; if it fails again, start a run with another --judge or a "
        "larger max_unjudged"
    )


@contextmanager
def _stopping(runtimes: RuntimeRegistry) -> Iterator[None]:
    """Let SIGINT and SIGTERM stop the run: the first cleanly, a second at once."""
    if not _in_main_thread():
        yield
        return
    asked = threading.Event()
    pool = logging.getLogger("concurrent.futures")
    silent = pool.disabled

    def stop(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            os._exit(130)
        asked.set()
        # Nodes end while LangGraph closes their pool, and what they would still hand to it is refused and logged.
        pool.disabled = True
        # In a thread of its own: this frame may hold a lock that stopping needs.
        threading.Thread(target=runtimes.interrupt, name="interrupt", daemon=True).start()
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except Exception as error:
        # What nodes in other threads ran into while everything was being stopped is not a failure.
        if asked.is_set():
            raise KeyboardInterrupt from error
        raise
    finally:
        pool.disabled = silent
        for number, handler in before.items():
            signal.signal(number, handler)
