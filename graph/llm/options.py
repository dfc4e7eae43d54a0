"""What a person asks for on the command line or from Python, as settings of chat models."""

from __future__ import annotations

import re
from collections.abc import Sequence

import yaml
from pydantic import ValidationError

from ...errors import InputError, explain
from .model_settings import ModelSettings

_TOKENS = re.compile(r"(\d+(?:\.\d+)?)\s*([kM]?)(?:\s*tokens)?")
_MONEY = re.compile(r"\$\s*(\d+(?:\.\d+)?)|(\d+(?:\.\d+)?)\s*(?:usd|USD)")


def model_settings(
    llm: str | None, executor: str | None = None, budget: str | None = None, more: Sequence[str] = ()
) -> ModelSettings | None:
    """Settings from 'provider:model' and what else was said; None without a model.

    `budget` is '200k' (tokens) or '$2' (money); `more` are 'name=value' for other fields of `ModelSettings`.
    Raises InputError for anything that cannot be, and for options without `llm`.
    """
    if llm is None:
        if executor or budget or more:
            raise InputError("options for a chat model need --llm PROVIDER:MODEL")
        return None
    given: dict[str, object] = {"researcher": llm}
    if executor is not None:
        given["executor"] = executor
    given |= parse_model_budget(budget) if budget is not None else {}
    for pair in more:
        name, equals, value = pair.partition("=")
        if not equals or name not in ModelSettings.model_fields:
            known = ", ".join(sorted(ModelSettings.model_fields))
            raise InputError(f"--llm-set {pair!r}: write NAME=VALUE with one of {known}")
        given[name] = value if name == "base_url" else yaml.safe_load(value)
    try:
        return ModelSettings.model_validate(given)
    except ValidationError as error:
        raise InputError(f"these settings of a chat model cannot be: {explain(error)}") from error


def parse_model_budget(text: str) -> dict[str, float | int]:
    """'200k' or '2M' as tokens, '$2' or '2 usd' as money. Raises InputError."""
    if match := _MONEY.fullmatch(text.strip()):
        return {"cost_budget_usd": float(match[1] or match[2])}
    if match := _TOKENS.fullmatch(text.strip()):
        return {"token_budget": round(float(match[1]) * {"": 1, "k": 1e3, "M": 1e6}[match[2]])}
    raise InputError(f"--llm-budget {text!r}: write tokens as 200k or 2M, or money as $2")
