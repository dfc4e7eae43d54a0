"""Which linear layers of a base model get an adapter."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from ...errors import PlanError
from ...evaluation.causal_models import LinearLayer

Layers = Literal["all", "upper_half", "upper_quarter"]
TargetGroup = Literal["all-linear", "attention", "mlp", "query-value"]
LayerName = Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\.\w+)*$", max_length=100)]
Targets = TargetGroup | Annotated[tuple[LayerName, ...], Field(min_length=1, max_length=64)]

NAMES: dict[TargetGroup, str] = {
    "all-linear": "all linear layers",
    "attention": "attention",
    "mlp": "feed-forward",
    "query-value": "q+v",
}
"""Names of the groups for people."""

# Projections of queries and values, and those that hold them together with others.
_QUERY_VALUE = re.compile(r"(^|_)(w?q|w?v|w?kv|w?qkv|query|value|c_attn)(_|$)", re.IGNORECASE)


def select_layers(
    targets: Targets, layers: Layers, linear: Sequence[LinearLayer], count: int
) -> list[LinearLayer]:
    """The linear layers that get an adapter, in a model of `count` layers. Raises PlanError if there are none.

    A name is that of a layer or the end of its full name, as in PEFT: 'q_proj', 'attn.c_proj'.
    """
    indices = target_layers(layers, count)
    missing: list[str]
    if isinstance(targets, str):
        chosen = _in_group(targets, linear)
        missing = [] if chosen else [targets]
    else:
        chosen = [each for each in linear if any(_ends_with(each.name, name) for name in targets)]
        missing = [name for name in targets if not any(_ends_with(each.name, name) for each in chosen)]
    if missing:
        known = ", ".join(sorted({each.name.rpartition(".")[2] for each in linear})) or "none"
        raise PlanError(
            f"the base model has no linear layers {', '.join(missing)}: its linear layers are {known}; "
            "targets may also be all-linear or attention"
        )
    found = [each for each in chosen if each.layer in indices]
    if not found:
        raise PlanError(
            f"the {layers.replace('_', ' ')} of the base model's {count} layers has no {targets}: set layers to all"
        )
    return found


def target_layers(layers: Layers, count: int) -> list[int]:
    """The indices of the layers that get an adapter, in a model with `count` layers."""
    size = {"all": count, "upper_half": count // 2, "upper_quarter": count // 4}[layers]
    return list(range(count - max(1, size), count))


def _in_group(group: TargetGroup, linear: Sequence[LinearLayer]) -> list[LinearLayer]:
    if group == "all-linear":
        return list(linear)
    if group != "query-value":
        return [each for each in linear if each.group == group]
    attention = _in_group("attention", linear)
    narrow = [each for each in attention if _QUERY_VALUE.search(each.name.rpartition(".")[2])]
    return narrow or attention


def _ends_with(name: str, end: str) -> bool:
    return f".{name}".endswith(f".{end}")
