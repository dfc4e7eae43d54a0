"""Ends a process whose parent has gone, whatever it is doing: also in native code that holds Python's lock."""

from __future__ import annotations

import os
import select
import signal
import time

_GRACE = 1.0  # seconds in which the process may end by itself
_LOOK = 5_000  # milliseconds between looks whether there is still something to watch


def end_with_input() -> None:
    """Start a process that kills this one when standard input, a pipe, has no writer any more.

    Another process, because a thread of this one may never run again. `PR_SET_PDEATHSIG` is no substitute: it acts
    when the parent's *thread* ends that started this process.
    """
    watched = os.getpid()
    if os.fork():
        return
    try:
        for handle in (1, 2):  # else our parent would wait for us to close them
            os.close(handle)
        _watch(watched)
    finally:
        os._exit(0)


def _watch(process: int) -> None:
    poll = select.poll()
    poll.register(0, 0)  # no event but the end; what is written stays for the process to read
    while os.getppid() == process:
        if poll.poll(_LOOK):
            time.sleep(_GRACE)
            if os.getppid() == process:
                os.kill(process, signal.SIGKILL)
            return
