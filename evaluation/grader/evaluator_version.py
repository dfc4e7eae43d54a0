"""The evaluator's version: what must not change while a run compares scores.

A run stores `evaluator_identity` in grader.json when it begins and requires it at every later start. It consists of

- `EVALUATOR_VERSION`, raised by hand when the same code would give other scores for a reason outside of the code;
- `scoring_code`: `model_scoring.py`, `splits.py` and the modules of `evaluation/` that they import: rendering, values
  per item, statistics of a score;
- `metric_code`: the module of the metric's class and the modules of `evaluation/` that it imports; likewise of what
  else decides a value, named in the metric's attribute `scored_by`;
- `engine_code`: the same for the inference engine.

A hash covers the code, not its place: names and folders of files, the module named in an import, comments and
docstrings do not count. So a release that moves, renames or documents files leaves runs resumable, and a change of
what is computed does not. A module outside of this package (a user's metric) is hashed byte for byte; what it imports
from elsewhere is not. Code is compared in the form that `ast.unparse` gives it, which may differ between Python
versions.
"""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ...errors import TrexError
from ...files import fingerprint
from ..engines.protocol import InferenceEngine
from ..metrics.protocol import Metric

EVALUATOR_VERSION = 2
"""Version 1 hashed all files of the package with their paths."""

_ROOM = Path(__file__).resolve().parents[1]
_PACKAGE = __name__.partition(".")[0]
_SCORING = (_ROOM / "grader" / "model_scoring.py", _ROOM / "splits.py")


def evaluator_identity(metric: Metric, engine: InferenceEngine) -> dict[str, str]:
    """Version and hashes by name. Raises TrexError for a metric or an engine that comes from no file."""
    return {
        "evaluator_version": str(EVALUATOR_VERSION),
        "scoring_code": code_hash(_SCORING),
        "metric_code": code_hash(map(_source, _with_parts(metric))),
        "engine_code": code_hash([_source(engine)]),
    }


def code_hash(modules: Iterable[Path]) -> str:
    """SHA-256 over modules and the modules of `evaluation/` that they import, in any order and under any name."""
    hashes: dict[Path, str] = {}
    waiting = [path.resolve() for path in modules]
    while waiting:
        path = waiting.pop()
        if path not in hashes:
            source = path.read_text(encoding="utf-8")
            tree = ast.parse(source)
            waiting.extend(_imports(path, tree))
            code = _plain_code(tree) if path.is_relative_to(_ROOM) else source
            hashes[path] = hashlib.sha256(code.encode()).hexdigest()
    return fingerprint(sorted(hashes.values()), length=64)


def _with_parts(metric: object) -> Iterator[object]:
    """A metric, and the metrics and functions in it: `scored_by`."""
    yield metric
    for part in getattr(metric, "scored_by", ()):
        yield from _with_parts(part)


def _source(instance: object) -> Path:
    """The file of the module that defines a function or an object's class."""
    module = sys.modules.get(instance.__module__)
    file = getattr(module, "__file__", None)
    if file is None:
        name = getattr(instance, "__name__", type(instance).__name__)
        raise TrexError(f"{name} comes from no file, so its code cannot be checked")
    return Path(file)


def _plain_code(tree: ast.Module) -> str:
    """The code of a module without what a move or a better explanation changes. Changes the tree."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            node.module, node.level = "imported", 0
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [part for part in node.body if not _is_text(part)] or [ast.Pass()]
    return ast.unparse(tree)


def _is_text(statement: ast.stmt) -> bool:
    """Whether a statement is a docstring, of a module, class, function or attribute."""
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _imports(path: Path, tree: ast.Module) -> Iterator[Path]:
    """The modules of `evaluation/` that a module imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                package, *parts = alias.name.split(".")
                if package == _PACKAGE and parts:
                    yield from _targets(_ROOM.parent.joinpath(*parts[:-1]), parts[-1:])
        elif isinstance(node, ast.ImportFrom):
            parts = node.module.split(".") if node.module else []
            if node.level:
                place = path.parents[node.level - 1].joinpath(*parts)
            elif parts and parts[0] == _PACKAGE:
                place = _ROOM.parent.joinpath(*parts[1:])
            else:
                continue
            yield from _targets(place, [alias.name for alias in node.names])


def _targets(place: Path, names: Sequence[str]) -> Iterator[Path]:
    """The files behind `from place import names`: a module, or a package and those of the names that are modules."""
    found = [_module(place / name) for name in names]
    if None in found:  # a name that is defined in the place itself
        found.append(_module(place))
    yield from (path.resolve() for path in found if path is not None and path.is_relative_to(_ROOM))


def _module(place: Path) -> Path | None:
    for path in (place.with_name(f"{place.name}.py"), place / "__init__.py"):
        if path.is_file():
            return path
    return None
