"""Requests of a person to a run: hints, pause, stop. They are files in its directory that any process may write.

A run that is killed finds a request again. The number of used hints is in the graph's state, so that each hint is
given to one plan, also when the node `plan` runs twice.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field, ValidationError

from ...errors import InputError, explain, reading
from ...files import append_line, is_locked, lock, read_json, read_lines, write_json

HINTS, PAUSE, STOP = "hints.jsonl", "pause.json", "stop.json"
LONGEST_HINT = 2000
POLL_S = 0.2
"""How often a running process looks for requests."""

Origin = Literal["hint", "form", "fork", "rejection"]
Extent = Literal["round", "now"]


class Hint(BaseModel, frozen=True, extra="forbid"):
    """A hint to the Researcher, a line of hints.jsonl."""

    text: str = Field(min_length=1, max_length=LONGEST_HINT)
    origin: Origin = Field(default="hint", description="'rejection': given with a rejected plan")
    about: str = Field(default="", description="The rejected plan")
    time: float = Field(default=0.0, description="Unix time")


class Stop(BaseModel, frozen=True):
    """stop.json. 'round': the current round is the last; 'now': running trials are stopped too."""

    extent: Extent = "round"
    time: float = 0.0


class Control:
    """The requests to one run, read from its directory each time."""

    def __init__(self, run: Path) -> None:
        self._run = run
        self._stop = run / STOP

    # Hints

    def hint(self, text: str, origin: Origin = "hint", about: str = "") -> None:
        """Add a hint; one from a form or a rejection is kept once however often it is added.

        Raises InputError for an empty or overlong one.
        """
        try:
            new_hint = Hint(text=" ".join(text.split()), origin=origin, about=about, time=time.time())
        except ValidationError as error:
            raise InputError(f"invalid hint: {explain(error)}") from error
        with lock(self._run / f".{HINTS}.lock"):
            known = [hint.model_copy(update={"time": new_hint.time}) for hint in self.hints()]
            if origin == "hint" or new_hint not in known:
                append_line(self._run / HINTS, new_hint.model_dump_json())

    def hints(self) -> list[Hint]:
        """Every hint, in the order in which they were given; a line torn by a crash is left out."""
        found = []
        path = self._run / HINTS
        with reading(path, "remove it, and hints are lost"):
            for _, value in read_lines(path):
                with suppress(ValidationError):
                    found.append(Hint.model_validate(value))
        return found

    def unread(self, used: int) -> list[Hint]:
        """Hints for the next plan, where `used` were given to plans before."""
        return [hint for hint in self.hints() if hint.origin != "rejection"][used:]

    # Stop

    def stop(self, extent: Extent) -> None:
        """Ask for an early end of the run, with winner, test score and report."""
        write_json(self._stop, Stop(extent=extent, time=time.time()).model_dump())

    @property
    def stopping(self) -> Extent | None:
        """Whether the run should end, and how soon."""
        if not self._stop.exists():
            return None
        with reading(self._stop, "remove it, or ask again with `trex stop`"):
            return Stop.model_validate(read_json(self._stop)).extent

    def stops_now(self) -> bool:
        """Whether running trials should stop too."""
        return self.stopping == "now"

    # Pause

    def pause(self) -> None:
        """Ask the running process to end; the run can be resumed."""
        write_json(self._run / PAUSE, {"time": time.time()})

    def pauses(self) -> bool:
        """Whether the running process should end."""
        return (self._run / PAUSE).exists()

    def clear_pause(self) -> None:
        """Remove a pause request: it was followed, or a new process starts."""
        (self._run / PAUSE).unlink(missing_ok=True)


def is_held(run: Path) -> bool:
    """Whether a process is running the run in this directory."""
    with reading(run / "lock", "remove it, if no process runs this run"):
        return is_locked(run / "lock")


class RequestPoller:
    """Polls `asked` in a thread and calls `act` once when it is true; `close` ends it."""

    def __init__(self, asked: Callable[[], bool], act: Callable[[], None]) -> None:
        self._asked, self._act = asked, act
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="control", daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._ended.wait(POLL_S):
            if self._asked():
                self._act()
                return

    def close(self) -> None:
        """Stop polling."""
        self._ended.set()
        self._thread.join()


def interrupt_main_thread() -> None:
    """Send SIGINT to the main thread, as Ctrl-C does."""
    main = threading.main_thread().ident
    if main is not None:
        signal.pthread_kill(main, signal.SIGINT)
