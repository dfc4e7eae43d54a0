"""Functions of the row language: those of TREX, and those that packages add by entry points of `trex.functions`.

A function takes and returns values of the row language. Its annotations (`str`, `int`, `float`, `list`, `dict`,
`Value`) are checked at each call. It must be a pure function of its arguments and raise RowError if it has no value.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, cached_property
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any, get_origin, get_type_hints

from ....errors import InputError, PlanError
from ....files import fingerprint, hash_file
from ....registry import Registry
from .list_functions import LIST_FUNCTIONS
from .number_functions import NUMBER_FUNCTIONS
from .row_values import CHARACTERS_A_UNIT, RowError, Value, Work, shown
from .text_functions import TEXT_FUNCTIONS

OWN: dict[str, Callable[..., Value]] = {**TEXT_FUNCTIONS, **NUMBER_FUNCTIONS, **LIST_FUNCTIONS}
INSTALLED = Registry["Callable[..., Value] | RowFunction"](
    "function of the row language", "trex.functions", {}
)
_KINDS: dict[Any, tuple[str, tuple[type, ...]]] = {
    str: ("text", (str,)),
    int: ("a whole number", (int,)),
    float: ("a number", (int, float)),
    bool: ("true or false", (bool,)),
    list: ("a list", (list,)),
    dict: ("an object", (dict,)),
}


@dataclass(frozen=True)
class RowFunction:
    """A function and what its results depend on.

    A package may register a plain function; this class states more: `work` units that a call costs (one is about a
    microsecond), the `packages` whose version and the `modules` whose source changes results.
    """

    call: Callable[..., Value]
    work: int = 1
    packages: tuple[str, ...] = ()
    modules: tuple[ModuleType, ...] = ()
    name: str = ""

    def __call__(self, given: Sequence[Value], work: Work) -> Value:
        """Apply it. Raises RowError for a value of the wrong kind."""
        for value, (wanted, kinds) in zip(given, self._kinds, strict=False):
            right = not kinds or (isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool)))
            if not right:
                raise RowError(f"{self.name}() needs {wanted}, got {shown(value)}")
            if isinstance(value, str | list):
                work.spend(len(value) // CHARACTERS_A_UNIT)
        return self.call(*given)

    def check_count(self, count: int) -> None:
        """Raises PlanError if it does not take so many arguments."""
        if not self._least <= count <= len(self._kinds):
            raise PlanError(f"the function is {self.signature}")

    @property
    def signature(self) -> str:
        """Such as 'replace(text, old, new)'."""
        parts = [
            name if each.default is each.empty else f"{name}={each.default!r}".replace("None", "null")
            for name, each in self._parameters.items()
        ]
        return f"{self.name}({', '.join(parts)})"

    @property
    def summary(self) -> str:
        """The first paragraph of its docstring."""
        return " ".join((self.call.__doc__ or "").split("\n\n")[0].split())

    @cached_property
    def identity(self) -> str:
        """A hash of what determines its results."""
        files = [inspect.getfile(self.call), *(str(module.__file__) for module in self.modules)]
        return fingerprint([[hash_file(Path(f)) for f in files], {n: version(n) for n in self.packages}])

    @cached_property
    def _parameters(self) -> dict[str, inspect.Parameter]:
        return dict(inspect.signature(self.call).parameters)

    @cached_property
    def _kinds(self) -> list[tuple[str, tuple[type, ...]]]:
        hints = {name: get_origin(hint) or hint for name, hint in get_type_hints(self.call).items()}
        return [_KINDS.get(hints.get(name), ("any value", ())) for name in self._parameters]

    @cached_property
    def _least(self) -> int:
        return sum(each.default is each.empty for each in self._parameters.values())


@cache
def row_function(name: str) -> RowFunction:
    """The function of that name. Raises PlanError for an unknown one, with the nearest."""
    if name in OWN:
        return RowFunction(OWN[name], name=name)
    names = [*OWN, *INSTALLED.names()]
    if name not in names:
        near = get_close_matches(name, names, n=1)
        advice = f"did you mean {near[0]}()?" if near else f"there are: {', '.join(names)}"
        raise PlanError(f"no function '{name}'; {advice}")
    try:
        found = INSTALLED.load(name)
    except InputError as error:
        raise PlanError(str(error)) from None
    if not isinstance(found, RowFunction):
        found = RowFunction(found)
    return RowFunction(found.call, found.work, found.packages, found.modules, name)


def row_functions() -> list[RowFunction]:
    """All functions, those of TREX first."""
    return [row_function(name) for name in (*OWN, *INSTALLED.names())]
