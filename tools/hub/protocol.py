"""The interface of a hub, and what it returns: search results, cards, schemas and rows of data sets."""

from __future__ import annotations

import re
from typing import Any, Literal, Protocol

from pydantic import BaseModel, Field

from ...errors import InputError

Kind = Literal["datasets", "models"]

_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?", re.ASCII)


class Listing(BaseModel):
    """A data set or model as a search returns it."""

    name: str
    licences: list[str] = Field(default_factory=list)
    downloads: int = 0
    about: list[str] = Field(default_factory=list)
    """Its tags: language, size, kind of task, pipeline."""


class Card(BaseModel):
    """The card of a data set: licences from its metadata, the text of its README."""

    name: str
    licences: list[str] = Field(default_factory=list)
    gated: bool = False
    downloads: int = 0
    about: list[str] = Field(default_factory=list)
    text: str = ""


class SplitSchema(BaseModel):
    """A split of a configuration: its columns with their types, and its number of rows (None if unknown)."""

    config: str
    split: str
    rows: int | None = None
    columns: dict[str, str] = Field(default_factory=dict)


class HubRow(BaseModel):
    """A row and its number in the split."""

    number: int
    values: dict[str, Any]


class Hub(Protocol):
    """A place with data sets and models. Every method raises TrexError for what is not available."""

    @property
    def title(self) -> str:
        """The name of the hub in a tool's result."""

    def search(self, kind: Kind, query: str, most: int) -> list[Listing]:
        """At most `most` data sets or models whose name or description matches, most downloaded first."""

    def card(self, name: str) -> Card:
        """The card of a data set."""

    def splits(self, name: str) -> list[SplitSchema]:
        """The configurations and splits of a data set."""

    def rows(self, name: str, config: str, split: str, offset: int, most: int) -> list[HubRow]:
        """At most `most` rows, from number `offset` on."""


def is_name(name: str) -> bool:
    """Whether a text has the form of a repository's name."""
    return _NAME.fullmatch(name) is not None


def checked_name(name: str) -> str:
    """The name, if it is valid: it becomes part of a URL or a path. Raises InputError if it is not."""
    if not is_name(name) or ".." in name:
        raise InputError("a data set or model is named 'owner/name', in letters, digits, '.', '_' and '-'")
    return name


def without_metadata(text: str) -> str:
    """The text of a README without the metadata block at its start."""
    return re.sub(r"\A\s*---\s*\n.*?\n---\s*(\n|\Z)", "", text, count=1, flags=re.DOTALL)


def declared_licences(metadata: dict[str, Any]) -> list[str]:
    """The values of the field `license` of a card's metadata, which is a string or a list."""
    declared = metadata.get("license", metadata.get("licence"))
    several = declared if isinstance(declared, list) else [declared]
    return [entry for entry in several if isinstance(entry, str) and entry.strip()]
