"""API keys: read from the environment or a file `.env`, for this process only, and removed from texts."""

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
"""Characters. A shorter value is not a key, and replacing it would damage texts."""

_lock = threading.Lock()


def environment() -> dict[str, str]:
    """The environment plus `.env` of the working directory. The environment has priority."""
    return {**_dotenv(Path.cwd()), **os.environ}


@contextmanager
def keys_in_environment() -> Iterator[None]:
    """Put the keys of `.env` into the environment while clients are created; afterwards they are removed.

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
    """The text without known key values and without anything that looks like a bearer key."""
    for value in _secrets(environment()):
        text = text.replace(value, "[key]")
    return _BEARER.sub("[key]", text)


def _secrets(known: Mapping[str, str]) -> list[str]:
    """Values of variables with names of secrets, longest first, since one may contain another."""
    values = {value.strip() for name, value in known.items() if _SECRET.search(name)}
    return sorted((value for value in values if len(value) >= _SHORTEST), key=len, reverse=True)


@cache
def _dotenv(folder: Path) -> dict[str, str]:
    """The variables of `.env`, read once per process."""
    path = folder / ".env"
    if not path.is_file():
        return {}
    from dotenv import dotenv_values

    return {name: value for name, value in dotenv_values(path, interpolate=False).items() if value}
