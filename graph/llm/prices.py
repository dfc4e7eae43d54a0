"""What a model's tokens cost: a small table, and the user's own beside it."""

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
"""The user's table, in TREX_HOME."""

# What may follow the name of a model without making it another one: a date, a revision, 'latest'.
_VERSION = re.compile(r"[-@:](?:\d{3,}[-\d]*|latest|v\d+(?::\d+)?)")


class Price(BaseModel):
    """US dollars per million tokens."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False)

    read: float = Field(alias="in", ge=0)
    written: float = Field(alias="out", ge=0)

    def of(self, tokens_in: int, tokens_out: int) -> float:
        """US dollars of so many tokens read and written."""
        return (tokens_in * self.read + tokens_out * self.written) / 1e6


FREE = Price.model_validate({"in": 0, "out": 0})

_Table = TypeAdapter(dict[str, Price])


def price_of(model: str, base_url: str | None = None) -> Price | None:
    """The price of 'provider:model'; None if nobody knows it.

    The user's table comes first, then a server on this machine is free, then the built-in table is asked: a
    server elsewhere has prices of its own, so that table is for the providers themselves. Raises InputError for
    a table that cannot be read.
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
    """What to do about a model without a price, in one line."""
    return (
        f"nobody knows the price of {model}, so a budget in money cannot be kept: add to {home() / OWN_TABLE} a line "
        f"'{model}: {{in: 1.0, out: 2.0}}' (US dollars per million tokens), or give a budget in tokens"
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
    """The entry with the longest name that stands for the model."""
    fitting = [name for name in table if _stands_for(name, model)]
    return table[max(fitting, key=len)] if fitting else None


def _stands_for(name: str, model: str) -> bool:
    if name.endswith("*"):
        return model.startswith(name[:-1])
    # No more than a version may follow: 'gpt-5' does not stand for 'gpt-5-pro', which costs twelve times as much.
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
