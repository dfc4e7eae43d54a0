"""The page docs/operators.md, made from the operators and the functions of the row language.

`python -m trex.training.data.operators.operator_reference > docs/operators.md` writes the page again.
"""

from __future__ import annotations

import json
import sys

from .. import text_quality
from ..expressions.row_functions import OWN, row_function
from ..text_quality import RULES
from . import OPERATORS, operators
from .protocol import Operator
from .quality import RULE_SETS

_HEAD = """\
# Operators of data recipes

[recipes.md](recipes.md) says what a recipe is. This page is made from the code:
`python -m trex.training.data.operators.operator_reference > docs/operators.md`.

The kind says what an operator does to rows: `row-wise` makes each row from one row or drops it, `selects` keeps some
rows unchanged, `orders` keeps all rows in another order, `expands` may make more rows, `combines` makes a row from
several.

| operator | kind | what it does | settings (default) |
|---|---|---|---|
"""
_RULES = """
## Rules of `quality`

| set | rules |
|---|---|
"""
_FUNCTIONS = """
## Functions of the row language

Each can also be written behind its first argument: `text.lower()` is `lower(text)`. A package adds functions by entry
points of the group `trex.functions`.

| function | value |
|---|---|
"""


def page() -> str:
    """The page in Markdown, about the operators and functions of TREX."""
    own = {name: kind for name, kind in operators().items() if name in OPERATORS.own_names()}
    rows = "".join(f"{_row(name, kind)}\n" for name, kind in own.items())
    functions = (row_function(name) for name in OWN)
    table = "".join(f"| `{function.signature}` | {function.summary} |\n" for function in functions)
    sets = ((each, [name for name in RULES if name.startswith(f"{each}.")]) for each in RULE_SETS)
    rules = "".join(f"| `{each}` | {', '.join(f'`{name}`' for name in names)} |\n" for each, names in sets)
    sources = " ".join((text_quality.__doc__ or "").split("\n\n", 1)[1].split())
    return f"{_HEAD}{rows}{_RULES}{rules}\n{sources}\n{_FUNCTIONS}{table}"


def _row(name: str, kind: type[Operator]) -> str:
    summary = " ".join((kind.__doc__ or "").split())
    settings = []
    for setting, field in kind.model_fields.items():
        if setting != "op":
            default = (
                ""
                if field.is_required()
                else f" ({json.dumps(field.get_default(call_default_factory=True))})"
            )
            settings.append(f"`{setting}`{default}: {field.description}")
    return f"| `{name}` | {kind.kind} | {summary} | {'; '.join(settings)} |"


if __name__ == "__main__":
    sys.stdout.write(page())
