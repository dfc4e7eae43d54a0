"""Implementations of a protocol by name: those of this package, and those that installed packages add.

A package adds one with an entry point, in its pyproject.toml:

    [project.entry-points."trex.policies"]
    beam = "my_package.search:Beam"
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from .errors import InputError

Implementation = TypeVar("Implementation")


class Registry(Generic[Implementation]):
    """Imports an implementation only when it is asked for.

    `kind` is what error messages call an implementation, `group` is the group of entry points. `own` are those of
    this package, as "module:attribute"; an installed package cannot replace them.
    """

    def __init__(self, kind: str, group: str, own: Mapping[str, str]) -> None:
        self._kind = kind
        self._group = group
        self._own = {name: EntryPoint(name, value, group) for name, value in own.items()}

    def names(self) -> tuple[str, ...]:
        """Own names in their order, then those of installed packages in alphabetical order."""
        return tuple({**self._own, **self._installed()})

    def own_names(self) -> tuple[str, ...]:
        """Names of this package's implementations."""
        return tuple(self._own)

    def check(self, name: str) -> None:
        """Raises InputError for an unknown name, with the known ones. Imports nothing."""
        if name not in self._own and name not in self._installed():
            raise InputError(f"no {self._kind} {name!r}; there are: {', '.join(self.names())}")

    def load(self, name: str) -> Implementation:
        """The implementation. Raises InputError for an unknown name, and for one that cannot be imported."""
        self.check(name)
        entry = self._own.get(name) or self._installed()[name]
        try:
            implementation: Implementation = entry.load()
        except (ImportError, AttributeError) as error:
            raise InputError(f"{self._kind} {name!r} ({entry.value}) cannot be imported: {error}") from error
        return implementation

    def _installed(self) -> dict[str, EntryPoint]:
        return {entry.name: entry for entry in sorted(entry_points(group=self._group), key=lambda e: e.name)}
