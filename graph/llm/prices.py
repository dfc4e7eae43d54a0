"""Prices of models' tokens: a small built-in table, and the user's own table."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from ...errors import InputError, explain
from ...files import read_yaml
from ...home import home

OWN_TABLE = "prices.yaml"
"""File name of the user's table in TREX_HOME."""

# Suffixes that name a version of the same model: a date, a revision, 'latest'.
_VERSION = re.compile(r"[-@:](?:\d{3,}[-\d]*|latest|v\d+(?::\d+)?)")


class Price(BaseModel):
    """US dollars per million tokens."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False)

    input: float = Field(alias="in", ge=0)
    output: float = Field(alias="out", ge=0)

    def of(self, tokens_in: int, tokens_out: int) -> float:
        """US dollars for this many input and output tokens."""
        return (tokens_in * self.input + tokens_out * self.output) / 1e6


FREE = Price.model_validate({"in": 0, "out": 0})

_Table = TypeAdapter(dict[str, Price])


def price_of(model: str, base_url: str | None = None) -> Price | None:
    """The price of 'provider:model'; None if it is unknown.

    The user's table comes first. A server on this machine is free. The built-in table is for the providers' own
    servers only, since other servers have other prices. Raises InputError for a table that cannot be read.
    """
    own = home() / OWN_TABLE
    if own.is_file() and (price := _match(_read(own), model)):
        return price
    if base_url is not None and is_local(base_url):
        return FREE
    if base_url is not None and urlsplit(base_url).hostname != "api.openai.com":
        return None
    return _match(_builtin(), model)


def missing_price(model: str) -> str:
    """The error for a model without a price: one line that says what to do."""
    return (
        f"the price of {model} is unknown, so a budget in US dollars cannot be kept: add to {home() / OWN_TABLE} "
        f"the line '{model}: {{in: 1.0, out: 2.0}}' (US dollars per million tokens), or give a budget in tokens"
    )


def is_local(url: str) -> bool:
    """Whether a server is on this machine."""
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _match(table: Mapping[str, Price], model: str) -> Price | None:
    """The entry with the longest name that matches the model."""
    fitting = [name for name in table if _matches(name, model)]
    return table[max(fitting, key=len)] if fitting else None


def _matches(name: str, model: str) -> bool:
    if name.endswith("*"):
        return model.startswith(name[:-1])
    # Only a version may follow: 'gpt-5' does not match 'gpt-5-pro', which costs twelve times as much.
    return model.startswith(name) and (model == name or bool(_VERSION.fullmatch(model[len(name) :])))


def _read(path: Path) -> dict[str, Price]:
    given: Any = read_yaml(path)
    try:
        return _Table.validate_python(given or {})
    except ValidationError as error:
        raise InputError(
            f"{path}: {explain(error)}: write 'provider:model: {{in: 1.0, out: 2.0}}', US dollars per million tokens"
        ) from error


@cache
def _builtin() -> dict[str, Price]:
    return _read(Path(__file__).with_name("prices.yaml"))
