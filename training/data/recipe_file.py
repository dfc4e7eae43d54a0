"""Recipes as YAML files."""

from __future__ import annotations

from difflib import get_close_matches

import yaml
from pydantic import ValidationError

from ...errors import InputError, PlanError, explain
from ...files import canonical_json, parse_yaml
from .operators import operators
from .recipe import DataRecipe, Stream

MAX_CHARACTERS = 64 * 1024
_BREAKS = ("\x85", "\u2028", "\u2029")


def recipe_to_yaml(recipe: DataRecipe) -> str:
    """The recipe as YAML with all settings, defaults included; values that are None are left out."""
    fields = recipe.model_dump(mode="json", exclude_none=True)
    # PyYAML reads these line breaks back as spaces unless all Unicode is escaped.
    readable = not any(mark in canonical_json(fields) for mark in _BREAKS)
    return yaml.safe_dump(fields, sort_keys=False, allow_unicode=readable, width=100)


def recipe_from_yaml(text: str) -> DataRecipe:
    """Read a recipe. Raises PlanError with the invalid line or field."""
    if len(text) > MAX_CHARACTERS:
        raise PlanError(f"recipe: longer than {MAX_CHARACTERS} characters")
    try:
        fields = parse_yaml(text, "recipe")
    except InputError as error:
        raise PlanError(str(error)) from None
    if not isinstance(fields, dict):
        raise PlanError("recipe: not a mapping of fields; it begins with `streams:`")
    try:
        return DataRecipe.model_validate(fields)
    except ValidationError as error:
        raise PlanError(f"recipe: {explain(error)}{_mend(error)}") from None


def _mend(error: ValidationError) -> str:
    """The likely correction of the first misspelt operator or setting; '' if there is none."""
    for mistake in error.errors(include_url=False):
        place, wrong, known = mistake["loc"], "", list[str]()
        if mistake["type"] == "union_tag_invalid":
            wrong, known = str(mistake["ctx"]["tag"]), list(operators())
        elif mistake["type"] == "extra_forbidden":
            owner = operators().get(str(place[-2])) if len(place) > 1 else DataRecipe
            wrong, known = str(place[-1]), list((owner or Stream).model_fields)
        if near := get_close_matches(wrong, known, n=1):
            return f"; did you mean '{near[0]}' instead of '{wrong}'?"
    return ""
