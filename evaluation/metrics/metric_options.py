"""Options of a metric: the keyword arguments of its class, checked against their annotations.

`Annotated[float, Field(ge=0, description="…")]` adds bounds and the text that `trex metrics` shows.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from pydantic.fields import FieldInfo

from ...errors import InputError, explain


@dataclass(frozen=True)
class MetricOption:
    """An option as people read it: type and default as text, no default where a value is required."""

    name: str
    type: str
    default: str | None
    help: str

    def __str__(self) -> str:
        return f"{self.name} ({self.type}{'' if self.default is None else f', default {self.default}'})"


def make_with_options(name: str, make: Callable[..., Any], options: Mapping[str, Any]) -> Any:
    """Call `make` with options. Raises InputError for an unknown one or a wrong type, and lists those there are."""
    if not options:
        return make()
    model = _model(make)
    known = ", ".join(map(str, options_of(make)))
    unknown = sorted(options.keys() - model.model_fields.keys())
    if unknown:
        raise InputError(f"metric {name!r} has no option {unknown[0]!r}; its options are: {known or 'none'}")
    try:
        checked = model.model_validate(dict(options))
    except ValidationError as error:
        raise InputError(f"metric {name!r}: {explain(error)}; its options are: {known}") from error
    return make(**{option: getattr(checked, option) for option in checked.model_fields_set})


def options_of(make: Callable[..., Any]) -> list[MetricOption]:
    """The options of a metric's class, in the order of its arguments."""
    return [
        MetricOption(
            name,
            _type_text(field.annotation),
            None if field.is_required() else repr(field.default),
            field.description or "",
        )
        for name, field in _model(make).model_fields.items()
    ]


def _model(make: Callable[..., Any]) -> type[BaseModel]:
    """The keyword arguments of a class as a model; an argument without annotation takes anything."""
    function = make.__init__ if inspect.isclass(make) else make
    hints = get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {}
    for argument in inspect.signature(make).parameters.values():
        if argument.kind in (argument.POSITIONAL_OR_KEYWORD, argument.KEYWORD_ONLY):
            default = ... if argument.default is argument.empty else argument.default
            fields[argument.name] = (hints.get(argument.name, Any), default)
    settings = ConfigDict(arbitrary_types_allowed=True)
    return create_model("Options", __config__=settings, **fields)


def _type_text(annotation: FieldInfo | Any) -> str:
    if get_origin(annotation) is Literal:
        return " or ".join(map(repr, get_args(annotation)))
    if isinstance(annotation, type) and not get_args(annotation):
        return annotation.__name__
    return str(annotation).replace("typing.", "").replace(" | None", " or None")
