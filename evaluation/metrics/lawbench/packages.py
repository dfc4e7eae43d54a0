"""The packages that the rules need and that TREX runs without."""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import Any

from ....errors import InputError

PINNED = {"cn2an": "0.5.22", "opencc": "1.1.6", "pypinyin": "0.49.0"}
"""The versions that LawBench's README requires; others read some numbers and characters in another way."""


def package(name: str) -> Any:
    """The package, imported at its first use. Raises InputError, with the way to install it, if it is missing."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(
            f"LawBench is scored with {name}, which is not installed: pip install 'trex-finetune[ftbench]'"
        ) from error


def pinned(name: str) -> Any:
    """The package in LawBench's version. Raises InputError if it is missing or of another version."""
    found = package(name)
    if not is_pinned(name):
        raise InputError(
            f"LawBench's official form needs {name} {PINNED[name]}, but {importlib.metadata.version(name)} is "
            f"installed: pip install {name}=={PINNED[name]}"
        )
    return found


def is_pinned(name: str) -> bool:
    """Whether the package is installed in LawBench's version."""
    try:
        return importlib.metadata.version(name) == PINNED[name]
    except importlib.metadata.PackageNotFoundError:
        return False
