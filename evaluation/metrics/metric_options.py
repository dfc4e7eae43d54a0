"""Options of a metric: the keyword arguments of its class, checked against their annotations."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from ...errors import InputError, explain


def make_with_options(name: str, make: Callable[..., Any], options: Mapping[str, Any]) -> Any:
    """Call `make` with options. Raises InputError for an unknown one or a wrong type, and lists those there are."""
    if not options:
        return make()
    model = _model(make)
    known = ", ".join(f"{option} ({_type_of(field)})" for option, field in model.model_fields.items())
    unknown = sorted(options.keys() - model.model_fields.keys())
    if unknown:
        raise InputError(f"metric {name!r} has no option {unknown[0]!r}; its options are: {known or 'none'}")
    try:
        checked = model.model_validate(dict(options))
    except ValidationError as error:
        raise InputError(f"metric {name!r}: {explain(error)}; its options are: {known}") from error
    return make(**{option: getattr(checked, option) for option in checked.model_fields_set})


def _model(make: Callable[..., Any]) -> type[BaseModel]:
    """The keyword arguments of a class as a model; an argument without annotation takes anything."""
    function = make.__init__ if inspect.isclass(make) else make
    hints = get_type_hints(function)
    fields: dict[str, Any] = {}
    for argument in inspect.signature(make).parameters.values():
        if argument.kind in (argument.POSITIONAL_OR_KEYWORD, argument.KEYWORD_ONLY):
            default = ... if argument.default is argument.empty else argument.default
            fields[argument.name] = (hints.get(argument.name, Any), default)
    settings = ConfigDict(arbitrary_types_allowed=True)
    return create_model("Options", __config__=settings, **fields)


def _type_of(field: Any) -> str:
    kind = getattr(field.annotation, "__name__", None) or str(field.annotation)
    return kind if field.is_required() else f"{kind}, default {field.default!r}"
