"""Data operators: the steps of a data recipe, one file an operator.

To add one: a subclass of `Operator` in a file here and a line in `OPERATORS`, or in another package by an entry
point of the group `trex.operators` whose name is the operator's `op`.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from ....errors import InputError
from ....registry import Registry
from .protocol import Fault, Operator

LOG = logging.getLogger(__name__)

OPERATORS = Registry[type[Operator]](
    "data operator",
    "trex.operators",
    {
        "convert": f"{__name__}.convert:Convert",
        "explode": f"{__name__}.explode:Explode",
        "clean": f"{__name__}.clean:Clean",
        "filter": f"{__name__}.filter:Filter",
        "threshold": f"{__name__}.threshold:Threshold",
        "compute": f"{__name__}.compute:Compute",
        "python": f"{__name__}.python:Python",
        "where": f"{__name__}.where:Where",
        "quality": f"{__name__}.quality:Quality",
        "balance": f"{__name__}.balance:Balance",
        "top": f"{__name__}.top:Top",
        "sample": f"{__name__}.sample:Sample",
        "dedup": f"{__name__}.dedup:Dedup",
        "near_dedup": f"{__name__}.near_dedup:NearDedup",
        "rename": f"{__name__}.rename:Rename",
        "hash_split": f"{__name__}.hash_split:HashSplit",
        "generate": f"{__name__}.generate:Generate",
        "score": f"{__name__}.score:ScoreRows",
        "pairs": f"{__name__}.pairs:Pairs",
        "reject": f"{__name__}.reject:Reject",
        "shuffle": f"{__name__}.shuffle:Shuffle",
    },
)


@cache
def operators() -> dict[str, type[Operator]]:
    """Every operator by its `op`. One that cannot be used is left out with a warning in the log."""
    found = {}
    for name in OPERATORS.names():
        try:
            found[name] = _checked(name, OPERATORS.load(name))
        except InputError as error:
            LOG.warning("%s; recipes cannot use it", error)
    return found


def remedy(fault: Fault, column: str = "", rating: str | None = None) -> str:
    """What to do against a fault of a data set, by every operator that corrects it."""
    advice = [kind.remedies[fault] for kind in operators().values() if fault in kind.remedies]
    return ", or ".join(advice).format(column=column, rating=rating) or "use other rows"


def outside_sources(steps: Iterable[Operator]) -> list[Path]:
    """The source files of steps whose operators come from other packages."""
    here = Path(__file__).parent
    files = {Path(inspect.getfile(type(step))) for step in steps}
    return sorted(path for path in files if path.parent != here)


def _checked(name: str, operator: type[Operator]) -> type[Operator]:
    if not (isinstance(operator, type) and issubclass(operator, Operator)):
        raise InputError(f"data operator {name!r}: {operator!r} is no subclass of Operator")
    if operator.model_fields["op"].default != name:
        raise InputError(f"data operator {name!r}: its field `op` has another name as its default")
    return operator
