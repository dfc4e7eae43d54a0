"""Metrics: one value per item, an aggregate over items, and figures beside it.

A metric is a class that satisfies `Metric`. To add one, write a module here and name it in `BUILT_IN`; a
user's own metric needs neither, a task names it as 'file.py:Name' or 'package.module:Name'.

A built-in name may go on with a subtask and with 'upstream': 'tomg:AddComponent', 'csbench/upstream',
'lawbench:3-1/upstream'. The second is the official scorer to the letter, faults included, for comparison with
published figures; without it, a metric is what a search should optimise.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError, TrexError
from ...files import fingerprint
from ..task import Item

BUILT_IN = {
    "accuracy": "accuracy:Accuracy",
    "molecules": "molecules:MoleculeSuccess",
    "csbench": "csbench:CsBench",
    "econlogicqa": "ordering:OrderingAccuracy",
    "gta": "gta:ToolUse",
    "hoc": "macro_f1:HallmarksMacroF1",
    "lawbench": "lawbench:LawBench",
    "omebench": "omescore:OmeScore",
    "openfindata": "openfindata:OpenFinData",
    "rouge1": "rouge:Rouge1",
    "sst2": "sst2:Sst2",
    "tomg": "tomg:TomgSuccess",
}
UPSTREAM = "/upstream"

Counts = NDArray[np.float64]


@runtime_checkable
class Metric(Protocol):
    """Scores answers. Items carry their columns; in a run also `reference`, the answer the prompt expects."""

    @property
    def name(self) -> str:
        """What the score is called in tables, e.g. 'accuracy'."""
        ...

    def score_items(self, items: Sequence[Item], predictions: Sequence[str]) -> list[float]:
        """One finite value per item, more is better; 1.0 is a right answer where there is right and wrong."""
        ...

    def aggregate(self, rows: Sequence[float]) -> float:
        """The score of a set of values, usually their mean. Called on resamples for the interval."""
        ...

    def secondary(self, items: Sequence[Item], predictions: Sequence[str]) -> dict[str, float]:
        """Further figures, e.g. validity; may be empty."""
        ...


@runtime_checkable
class PooledMetric(Metric, Protocol):
    """A metric whose score is no function of the values but of counts summed over items, as macro-F1 is.

    `aggregate` is then the mean of the values and is not the score.
    """

    def counts(self, items: Sequence[Item], predictions: Sequence[str]) -> Counts:
        """Per item a row of k finite numbers: shape (n, k)."""
        ...

    def pooled(self, totals: Counts) -> Counts:
        """The scores of sums of counts: shape (..., k) to shape (...)."""
        ...


def mean(rows: Sequence[float]) -> float:
    """The arithmetic mean, correctly rounded: the aggregate of several metrics. Raises TrexError for no rows."""
    if len(rows) == 0:
        raise TrexError("the mean of no items is not defined")
    return math.fsum(rows) / len(rows)


@dataclass(frozen=True)
class Measured:
    """What a metric said of predictions; `counts` for a pooled one alone."""

    values: list[float]
    secondary: dict[str, float]
    counts: Counts | None = None


def metric(name: str) -> Metric:
    """The metric of that name, or of 'file.py:Name' or 'package.module:Name'. Raises InputError if there is none."""
    stem = name.removesuffix(UPSTREAM)
    built_in, _, subtask = stem.partition(":")
    variant: dict[str, Any] = {}
    if built_in in BUILT_IN:
        where = f"{__name__}.{BUILT_IN[built_in]}"
        variant = ({"subtask": subtask} if subtask else {}) | ({"upstream": True} if stem != name else {})
    else:
        where = name
    module_name, _, attribute = where.rpartition(":")
    if not module_name or not attribute:
        raise InputError(
            f"unknown metric {name!r}: known are {', '.join(sorted(BUILT_IN))}; "
            "a metric of your own is named 'file.py:Name' or 'package.module:Name'"
        )
    try:
        module = _from_file(Path(module_name)) if is_file(name) else importlib.import_module(module_name)
        found = getattr(module, attribute)(**variant)
    except InputError:
        raise
    except Exception as error:  # what a user's module may raise is anything
        raise InputError(f"metric {name!r} could not be made from {where!r}: {error}") from error
    if not isinstance(found, Metric):
        raise InputError(f"metric {name!r}: {where!r} lacks name, score_items, aggregate or secondary")
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


def measure(scorer: Metric, items: Sequence[Item], predictions: Sequence[str]) -> Measured:
    """What the metric says, checked.

    Raises TrexError for no items, a wrong number of values, or a value that isn't finite.
    """
    if not items:
        raise TrexError(f"metric {scorer.name!r} was given no items; nothing can be scored")
    if len(items) != len(predictions):
        raise TrexError(f"{len(predictions)} predictions for {len(items)} items")
    rows = [float(value) for value in scorer.score_items(items, predictions)]
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
    secondary = {key: float(value) for key, value in scorer.secondary(items, predictions).items()}
    for key, value in secondary.items():
        if not math.isfinite(value):
            raise TrexError(f"metric {scorer.name!r} returned {value} for its figure {key!r}")
    return Measured(rows, secondary, _counts(scorer, items, predictions))


def _counts(scorer: Metric, items: Sequence[Item], predictions: Sequence[str]) -> Counts | None:
    if not isinstance(scorer, PooledMetric):
        return None
    counts = np.asarray(scorer.counts(items, predictions), dtype=float)
    if counts.ndim != 2 or len(counts) != len(items) or not np.isfinite(counts).all():
        raise TrexError(f"metric {scorer.name!r} must count finite numbers, a row for each of its items")
    return counts
