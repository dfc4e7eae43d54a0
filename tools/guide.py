"""Short descriptions of recipes and training plans for agents, generated from their pydantic models.

Their JSON schemas would fill a tenth of a small context, in each tool that takes one.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel

from ..training.data.expressions.row_functions import row_functions
from ..training.data.operators import operators
from ..training.data.recipe import DataRecipe, Stream
from ..training.methods import METHODS
from ..training.methods_page import value_range
from ..training.weights import WEIGHTS

_EXAMPLE = (
    '{"streams": [{"source": "movies", "steps": [{"op": "threshold", "column": "rating", "below": -1, '
    '"above": 1}]}], "rows": 600, "steps": [{"op": "dedup", "columns": ["text"]}]}'
)


def recipe_guide() -> str:
    """The fields of a recipe and all operators with their defaults, one line per operator."""
    lines = [
        f"{name}({_fields(kind)}): {' '.join((kind.__doc__ or '').split())}"
        for name, kind in operators().items()
    ]
    return (
        f"The whole recipe, an object with {_fields(DataRecipe)}. A stream has {_fields(Stream)}. With `rows`, "
        "at most so many are taken in all, from the streams by weight. A step is an object with `op` and the "
        "settings of its operator:\n" + "\n".join(lines) + f"\n{_row_language()}\nExample: {_EXAMPLE}"
    )


def _row_language() -> str:
    """The row language in one line."""
    functions = ", ".join(function.signature for function in row_functions())
    return (
        "Expressions have Python's syntax for values: operators, `x if test else y`, `[f(x) for x in list if test]`, "
        f"f-strings; names are columns; no attributes, lambdas or imports. Functions: {functions}"
    )


def training_guide() -> str:
    """Every setting of a training plan with its default and bounds: weights by kind, stages by method."""
    kinds = [f"kind={kind}: {_settings(WEIGHTS.load(kind).settings)}" for kind in WEIGHTS.names()]
    methods = [f"method={name}: {_settings(METHODS.load(name).stage)}" for name in METHODS.names()]
    return (
        'An object {"weights": {…}, "stages": [{…}]} with 1 to 4 stages; each goes on from the weights of the '
        "one before, and names the recipe it trains on. "
        f"weights, {' | '.join(kinds)}. A stage, {' | '.join(methods)}"
    )


def _settings(kind: type[BaseModel]) -> str:
    schemas: dict[str, dict[str, Any]] = kind.model_json_schema()["properties"]
    return "; ".join(
        f"{name}={json.dumps(schema['default'])}{_range(schema)}"
        for name, schema in schemas.items()
        if name not in ("kind", "method") and "default" in schema
    )


def _fields(kind: type[BaseModel]) -> str:
    """The names of the fields, with the defaults of optional ones."""
    return ", ".join(
        name if field.is_required() else f"{name}={json.dumps(field.default)}"
        for name, field in kind.model_fields.items()
        if name != "op"
    )


def _range(schema: dict[str, Any]) -> str:
    """' (> 0, ≤ 20)', ' (linear | cosine)', or nothing."""
    text = value_range(schema, " | ")
    return f" ({text})" if text else ""
