"""Where TREX keeps what outlives a run: `TREX_HOME`, or `~/.cache/trex`."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """The folder of assets, converted models, materialised tasks and the store of reusable results."""
    configured = os.environ.get("TREX_HOME")
    if configured:
        return Path(configured).expanduser().absolute()
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache).expanduser() if cache else Path.home() / ".cache") / "trex"
