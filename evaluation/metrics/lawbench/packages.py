"""The packages that the rules need and that TREX runs without."""

from __future__ import annotations

import importlib
from typing import Any

from ....errors import InputError


def package(name: str) -> Any:
    """The package, imported at its first use. Raises InputError, with the way to install it, if it is missing."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(
            f"LawBench is scored with {name}, which is not installed: pip install 'trex-finetune[ftbench]'"
        ) from error
