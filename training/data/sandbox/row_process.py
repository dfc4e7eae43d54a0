"""The sandboxed process of the operator `python`. Run as a script, with the paths of `landlock` and `privileges`.

It reads one JSON line with the code and limits, confines itself for good, and only then compiles the code. Then each
line is a seed for `random` and a row, and each answer a line: `{"rows": [...]}` or `{"fault": "..."}`. Modules that are
not loaded before cannot be imported, since no file can be opened.
"""

from __future__ import annotations

import importlib.util
import io
import json
import os
import random
import resource
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

MODULES = (
    "base64", "bisect", "collections", "copy", "csv", "datetime", "decimal", "difflib", "fractions", "functools",
    "hashlib", "heapq", "html", "itertools", "json", "math", "operator", "random", "re", "statistics", "string",
    "textwrap", "typing", "unicodedata", "zlib",
)  # fmt: skip
"""What the code can import."""

REFUSED = 3
"""Exit status of a process that could not be confined; the line before says why."""


def main() -> None:
    """The process."""
    order: dict[str, Any] = json.loads(sys.stdin.readline())
    for name in MODULES:
        importlib.import_module(name)
    landlock, privileges = (_module(path) for path in sys.argv[1:3])
    refusal = _confine(landlock, privileges, int(order["memory"]), int(order["seconds"]))
    print(json.dumps({"ready": not refusal, "fault": refusal}), flush=True)
    if refusal:
        sys.exit(REFUSED)
    out, sys.stdout = sys.stdout, _Nowhere()  # what the code prints is no answer
    set_seed = random.seed  # as it is before the code can replace it
    function, fault = _compiled(order["code"])
    for line in sys.stdin:
        seed, row = json.loads(line)
        set_seed(seed)
        out.write(_answer(function, row, fault) + "\n")
        out.flush()


class _Nowhere(io.TextIOBase):
    def write(self, text: str) -> int:
        return len(text)


def _confine(landlock: ModuleType, privileges: ModuleType, memory: int, seconds: int) -> str:
    """Give up everything but computing. Returns why that is not possible, or nothing."""
    for limit, most in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (most, most))
    try:
        if not landlock.restrict([]):
            return "this kernel has no Landlock (Linux 5.13 or later, switched on)"
        privileges.drop_capabilities()
    except OSError as error:
        return str(error)
    return "" if privileges.compute_only() else "this machine has no seccomp filters that are known here"


def _compiled(code: str) -> tuple[Callable[[dict[str, Any]], Any] | None, str]:
    names: dict[str, Any] = {"__name__": "row_function"}
    try:
        exec(compile(code, "<code>", "exec"), names)  # in the sandbox alone
    except BaseException as error:
        return None, _described(error)
    function = names.get("row")
    return (function, "") if callable(function) else (None, "the code defines no function `row(row)`")


def _answer(function: Callable[[dict[str, Any]], Any] | None, row: dict[str, Any], fault: str) -> str:
    if function is None:
        return json.dumps({"fault": fault, "code": True})
    try:
        made = function(row)
        rows = [] if made is None else made if isinstance(made, list) else [made]
        if not all(isinstance(each, dict) and all(isinstance(name, str) for name in each) for each in rows):
            fault = f"`row` returned {type(made).__name__}: return a dict, a list of dicts, or None"
            return json.dumps({"fault": fault})
        return json.dumps({"rows": rows}, allow_nan=False)
    except BaseException as error:
        return json.dumps({"fault": _described(error)})


def _described(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    except BaseException:  # its text may be code of the user
        return "an error without a text"


def _module(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(os.path.basename(path).removesuffix(".py"), path)  # noqa: PTH119
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main()
