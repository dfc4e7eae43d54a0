"""The page docs/methods.md: kinds of weights and training methods with their settings, made from the code."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from inspect import cleandoc
from typing import Any

from pydantic import BaseModel

from .methods import METHODS
from .weights import WEIGHTS

_HEAD = """\
# Weights and methods

What a [training plan](plans.md) may contain: its `weights`, by `kind`, and its `stages`, by `method`. What is left out
has its default.

This page is made from the code: `python -m trex.training.methods_page > docs/methods.md`.
"""
_ROWS = """\
## Rows

A recipe's `output` says what a row holds.

| rows | `output` | a row |
|---|---|---|
| `prompt_completion` | `answers` | A question and its answer |
| `preference_pair` | `pairs` | A worse answer too, from the column `rejected`; the step `reject` makes one |
| `unpaired_preference` | `unpaired` | A good or bad answer, by the column `desirable`; `rejected` makes a bad row |
| `prompt_and_item` | `answers` | A question and the columns that the task's metric reads |
| `plain_text` | `text` | A text without a question, from the column `text` |
"""
_BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


def markdown() -> str:
    """docs/methods.md."""
    lines = [_HEAD]
    for kind in WEIGHTS.own_names():
        lines += [f"## Weights: {kind}", "", *_section(WEIGHTS.load(kind).settings)]
    for name in METHODS.own_names():
        method = METHODS.load(name)
        lines += [f"## Method: {name}", "", *_section(method.stage)]
        lines += [f"Rows: `{method.row_schema}`. " + _repairs(method.repairable), ""]
    lines += [_ROWS]
    return "\n".join(lines)


def _section(settings: type[BaseModel]) -> Iterator[str]:
    yield from (cleandoc(settings.__doc__ or ""), "", "| setting | default | range | |", "|---|---|---|---|")
    schemas: dict[str, dict[str, Any]] = settings.model_json_schema()["properties"]
    for name, schema in schemas.items():
        if name not in ("kind", "method"):
            default = json.dumps(schema.get("default"), ensure_ascii=False)
            yield f"| `{name}` | `{default}` | {value_range(schema)} | {schema['description']} |"
    yield ""


def value_range(schema: dict[str, Any], between: str = ", ") -> str:
    """'> 0, ≤ 20', 'linear, cosine' with `between` between the values, or nothing."""
    options = [option for option in schema.get("anyOf", [schema]) if option.get("type") != "null"]
    kind = options[0]
    choices = [*(kind.get("enum") or ()), *("a list of names" for option in options[1:] if "items" in option)]
    bounds = [f"{sign} {kind[key]:g}" for key, sign in _BOUNDS.items() if key in kind]
    return between.join(choices) if choices else ", ".join(bounds)


def _repairs(repairable: Any) -> str:
    names = ", ".join(f"`{name}` {way}" for name, way in repairable.items())
    return f"The Executor may change after a failure: {names}."


if __name__ == "__main__":
    sys.stdout.write(markdown())
