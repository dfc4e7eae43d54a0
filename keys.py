"""Keys of providers: from the environment or a file `.env`, for this process alone, and out of every text."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path

_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL", re.IGNORECASE)
_BEARER = re.compile(r"(?i)\b(?:bearer\s+|sk[-_])(?=\S*\d)[A-Za-z0-9_\-.]{16,}")
_SHORTEST = 6
"""Characters. What is shorter is no key, and would black out words."""

_lock = threading.Lock()


def environment() -> dict[str, str]:
    """The environment, completed by `.env` of the working directory: what is set in both is the environment's."""
    return {**_dotenv(Path.cwd()), **os.environ}


@contextmanager
def keys_at_hand() -> Iterator[None]:
    """Let clients that are made meanwhile find the keys of `.env`; afterwards the environment is as it was.

    So no child process inherits them.
    """
    with _lock:
        added = {name: value for name, value in environment().items() if name not in os.environ}
        os.environ.update(added)
        try:
            yield
        finally:
            for name in added:
                os.environ.pop(name, None)


def redact(text: str) -> str:
    """A text without the value of any key that is known here, nor anything that looks like one."""
    for value in _secrets(environment()):
        text = text.replace(value, "[key]")
    return _BEARER.sub("[key]", text)


def _secrets(known: Mapping[str, str]) -> list[str]:
    """Values of variables whose names speak of keys, the longest first: one may be part of another."""
    values = {value.strip() for name, value in known.items() if _SECRET.search(name)}
    return sorted((value for value in values if len(value) >= _SHORTEST), key=len, reverse=True)


@cache
def _dotenv(folder: Path) -> dict[str, str]:
    """Read once a process."""
    path = folder / ".env"
    if not path.is_file():
        return {}
    from dotenv import dotenv_values

    return {name: value for name, value in dotenv_values(path, interpolate=False).items() if value}
