"""The folder for data shared by runs: `TREX_HOME`, or `~/.cache/trex`."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """The folder with assets, converted models, task files and reusable results."""
    configured = os.environ.get("TREX_HOME")
    if configured:
        return Path(configured).expanduser().absolute()
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache).expanduser() if cache else Path.home() / ".cache") / "trex"
