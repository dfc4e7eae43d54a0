"""Metrics: one value per item, an aggregate over items, and figures beside it.

A metric is a class without constructor arguments that satisfies `Metric`. To add one, write a module here and
name it in `BUILT_IN`; a user's own metric needs neither, a task names it as 'file.py:Name' or
'package.module:Name'.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Protocol, runtime_checkable

from ...errors import InputError, TrexError
from ...files import fingerprint
from ..task import Item

BUILT_IN = {
    "accuracy": "trex.evaluation.metrics.accuracy:Accuracy",
    "molecules": "trex.evaluation.metrics.molecules:MoleculeSuccess",
}


@runtime_checkable
class Metric(Protocol):
    """Scores answers. Items carry their columns, and `reference`: the answer the task's prompt expects."""

    @property
    def name(self) -> str:
        """What the score is called in tables, e.g. 'accuracy'."""
        ...

    def rows(self, items: Sequence[Item], predictions: Sequence[str]) -> list[float]:
        """One finite value per item, more is better; 1.0 is a right answer where there is right and wrong."""
        ...

    def aggregate(self, rows: Sequence[float]) -> float:
        """The score of a set of values, usually their mean. Called on resamples for the interval."""
        ...

    def extras(self, items: Sequence[Item], predictions: Sequence[str]) -> dict[str, float]:
        """Further figures, e.g. validity; may be empty."""
        ...


def metric(name: str) -> Metric:
    """The metric of that name, or of 'file.py:Name' or 'package.module:Name'. Raises InputError if there is none."""
    where = BUILT_IN.get(name, name)
    module_name, _, attribute = where.rpartition(":")
    if not module_name or not attribute:
        raise InputError(
            f"unknown metric {name!r}: known are {', '.join(sorted(BUILT_IN))}; "
            "a metric of your own is named 'file.py:Name' or 'package.module:Name'"
        )
    try:
        module = _from_file(Path(module_name)) if is_file(name) else importlib.import_module(module_name)
        found = getattr(module, attribute)()
    except Exception as error:  # what a user's module may raise is anything
        raise InputError(f"metric {name!r} could not be made from {where!r}: {error}") from error
    if not isinstance(found, Metric):
        raise InputError(f"metric {name!r}: {where!r} lacks name, rows, aggregate or extras")
    return found


def is_file(name: str) -> bool:
    """Whether a metric is named by the file that defines it."""
    return name.rpartition(":")[0].endswith(".py")


def _from_file(path: Path) -> ModuleType:
    """The module in a file, under a name that no other file has."""
    name = f"trex_metric_{fingerprint(str(path.absolute()))}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise ImportError(f"{path} is no Python file")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        sys.modules[name] = module
    return sys.modules[name]


def measure(
    scorer: Metric, items: Sequence[Item], predictions: Sequence[str]
) -> tuple[list[float], dict[str, float]]:
    """Values per item and extras, checked.

    Raises TrexError for no items, a wrong number of values, or a value that isn't finite.
    """
    if not items:
        raise TrexError(f"metric {scorer.name!r} was given no items; nothing can be scored")
    if len(items) != len(predictions):
        raise TrexError(f"{len(predictions)} predictions for {len(items)} items")
    rows = [float(value) for value in scorer.rows(items, predictions)]
    if len(rows) != len(items):
        raise TrexError(
            f"metric {scorer.name!r} returned {len(rows)} values for {len(items)} items; "
            "it must return one for each"
        )
    for index, value in enumerate(rows):
        if not math.isfinite(value):
            raise TrexError(
                f"metric {scorer.name!r} returned {value} for item {items[index].get('id', index)}; "
                "a value must be a finite number"
            )
    extras = {key: float(value) for key, value in scorer.extras(items, predictions).items()}
    for key, value in extras.items():
        if not math.isfinite(value):
            raise TrexError(f"metric {scorer.name!r} returned {value} for its figure {key!r}")
    return rows, extras
