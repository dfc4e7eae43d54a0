"""Hubs: where data sets and models are searched. `huggingface` is on the web, `folder` is a local directory."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..web.http_client import Http
    from .protocol import Hub


def open_hub(http: Http) -> Hub:
    """The folder `TREX_HUB` if it is set, else the Hugging Face hub. Raises InputError if the folder is missing."""
    folder = os.environ.get("TREX_HUB")
    if folder:
        from pathlib import Path

        from .local_folder import FolderHub

        return FolderHub(Path(folder).expanduser())
    from ...keys import environment
    from .hugging_face import HuggingFace

    return HuggingFace(http, environment().get("HF_TOKEN", "").strip() or None)
