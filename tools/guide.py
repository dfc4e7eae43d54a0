"""Short descriptions of recipes and training plans for agents, generated from their pydantic models.

Their JSON schemas would fill a tenth of a small context, in each tool that takes one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Any

from pydantic import BaseModel

from ..training.data.expressions.row_functions import row_functions
from ..training.data.operators import operators
from ..training.data.recipe import DataRecipe, Stream
from ..training.methods import METHODS
from ..training.methods.pair_method import PairStage
from ..training.methods.protocol import Method
from ..training.methods.sampling import AnsweringStage, SampledStage
from ..training.methods.schedule import ScheduledStage
from ..training.methods_page import value_range
from ..training.weights import WEIGHTS

_EXAMPLE = (
    '{"streams": [{"source": "movies", "steps": [{"op": "threshold", "column": "rating", "below": -1, '
    '"above": 1}]}], "rows": 600, "steps": [{"op": "dedup", "columns": ["text"]}]}'
)


def recipe_guide(allow_python: bool = False) -> str:
    """The fields of a recipe and the operators with their defaults, one line each; `python` only if it is allowed."""
    return (
        f"The whole recipe, an object with {_fields(DataRecipe)}. A stream has {_fields(Stream)}. With `rows`, "
        "at most so many are taken in all, from the streams by weight. `output` may be answers or, for "
        f"other methods than sft, {DataRecipe.model_fields['output'].description}. A step is an object with `op` and "
        f"the settings of its operator:\n{operator_lines(_usable(allow_python))}\n{_row_language()}\n"
        f"Example: {_EXAMPLE}"
    )


def operator_lines(names: Collection[str]) -> str:
    """One line for each operator of these names: its settings, and what it does in a sentence."""
    return "\n".join(
        f"{name}({_fields(kind)}): {_sentence(kind)}" for name, kind in operators().items() if name in names
    )


def _usable(allow_python: bool) -> list[str]:
    return [name for name, kind in operators().items() if allow_python or not kind.needs_permission]


def possibilities(allow_python: bool = False) -> str:
    """What a plan may do at all, without settings: operators, methods with their rows, and kinds of weights."""
    steps = [f"- {name}: {_sentence(operators()[name])}" for name in _usable(allow_python)]
    methods = [
        f"- method {name} (rows: {METHODS.load(name).row_schema}): {_sentence(METHODS.load(name).stage)}"
        for name in METHODS.names()
    ]
    weights = [f"- weights {kind}: {_sentence(WEIGHTS.load(kind).settings)}" for kind in WEIGHTS.names()]
    return "\n".join([*steps, *methods, *weights])


def _sentence(kind: type[BaseModel]) -> str:
    """The first sentence of a docstring."""
    text = " ".join((kind.__doc__ or "").split())
    return re.split(r"(?<=[.;])\s", text, maxsplit=1)[0].rstrip(".;")


def _row_language() -> str:
    """The row language in one line."""
    functions = ", ".join(_call(function.signature) for function in row_functions())
    return (
        "Expressions have Python's syntax for values: operators, `x if test else y`, `[f(x) for x in list if test]`, "
        f"f-strings; names are columns; no attributes, lambdas or imports. Functions: {functions}"
    )


def _call(signature: str) -> str:
    """'upper' for 'upper(text)': a single parameter needs no name."""
    name, _, parameters = signature.partition("(")
    return signature if "," in parameters else name


def training_guide(names: Collection[str] | None = None) -> str:
    """Every setting of a training plan with its default and bounds: weights by kind, stages by method.

    With `names` other methods are only named, with their rows.
    """
    kinds = [f"kind={kind}: {_settings(WEIGHTS.load(kind).settings)}" for kind in WEIGHTS.names()]
    told = [name for name in METHODS.names() if names is None or name in names]
    stages = [f"method={name}: {_stage(METHODS.load(name))}" for name in told]
    needed = [each for each in _SHARED if any(issubclass(METHODS.load(n).stage, _SHARED[each]) for n in told)]
    shared = [f"{name} settings: {'; '.join(_own(_SHARED[name]))}" for name in needed]
    others = [f"{name} ({METHODS.load(name).row_schema})" for name in METHODS.names() if name not in told]
    return (
        'An object {"start": "base", "weights": {…}, "stages": [{…}]} with 1 to 4 stages; each goes on from the '
        "weights of the one before, and names the recipe it trains on. With start=parent the first one continues from "
        "the best weights of the refined experiment, which keep their kind, rank and targets. "
        f"weights, {' | '.join(kinds)}. A stage, {' | '.join([*stages, *shared])}"
        + (
            f". Other methods and their rows, usable with their defaults: {', '.join(others)}"
            if others
            else ""
        )
    )


_SHARED: dict[str, type[BaseModel]] = {
    "rewarded": SampledStage,
    "sampling": AnsweringStage,
    "pair": PairStage,
    "schedule": ScheduledStage,
}
"""Settings that several methods share, the most special ones first."""


def _stage(method: Method[Any]) -> str:
    return "; ".join([f"rows {method.row_schema}", *_own(method.stage)])


def _own(stage: type[BaseModel]) -> list[str]:
    """The settings of a stage, and the name of the nearest shared ones, which are listed once for all methods."""
    shared = next(((n, s) for n, s in _SHARED.items() if issubclass(stage, s) and s is not stage), None)
    if shared is None:
        return _listed(stage)
    known = _listed(shared[1])
    return [*(setting for setting in _listed(stage) if setting not in known), f"{shared[0]} settings"]


def _settings(kind: type[BaseModel]) -> str:
    return "; ".join(_listed(kind))


def _listed(kind: type[BaseModel]) -> list[str]:
    schemas: dict[str, dict[str, Any]] = kind.model_json_schema()["properties"]
    return [
        f"{name}={json.dumps(schema['default'])}{_range(schema)}"
        for name, schema in schemas.items()
        if name not in ("kind", "method") and "default" in schema
    ]


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
