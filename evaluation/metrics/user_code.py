"""Classes and functions of users, by the file or the module that defines them."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from ...errors import InputError
from ...files import fingerprint
from ..metric_name import is_file
from .measure import described


def named_object(name: str) -> Any:
    """What 'file.py:name' or 'package.module:name' names. Raises InputError if it cannot be imported."""
    place, _, attribute = name.rpartition(":")
    try:
        module = _from_file(Path(place)) if is_file(name) else importlib.import_module(place)
        return getattr(module, attribute)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a user's module may do anything, also exit
        raise InputError(f"metric {name!r} cannot be imported: {described(error)}") from error


def _from_file(path: Path) -> ModuleType:
    """The module in a file, under a name that no other file has."""
    name = f"trex_metric_{fingerprint(str(path.absolute()))}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise ImportError(f"{path} is no Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # before it is executed: data classes look their module up
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]
