"""Data sets and models on a hub: found, described, and looked into row by row, without downloading them.

`Hub` is the interface; here the Hugging Face hub (https://huggingface.co/docs/hub/api and
https://huggingface.co/docs/dataset-viewer), in `hub_folder.py` a local folder. `HF_TOKEN` is optional and goes to
these two hosts only.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Literal, Protocol
from urllib.parse import quote

from pydantic import BaseModel, Field, ValidationError

from ...errors import InputError, TrexError
from ...keys import environment
from ..web.http_client import TEXT, Http, Secret, Unfit

HUB = "huggingface.co"
VIEWER = "datasets-server.huggingface.co"

Kind = Literal["datasets", "models"]

_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?", re.ASCII)
_FIRST_ROWS = 100  # that the viewer keeps of a data set it has no index of


class Listing(BaseModel):
    """A data set or model as a search returns it."""

    name: str
    licences: list[str] = Field(default_factory=list)
    downloads: int = 0
    about: list[str] = Field(default_factory=list)
    """Its tags: language, size, kind of task, pipeline."""


class Card(BaseModel):
    """What a data set says of itself: licences from its metadata, the text from its README."""

    name: str
    licences: list[str] = Field(default_factory=list)
    gated: bool = False
    downloads: int = 0
    about: list[str] = Field(default_factory=list)
    text: str = ""


class Table(BaseModel):
    """A split of a configuration: its columns with their types, and how many rows it has (None if not known)."""

    config: str
    split: str
    rows: int | None = None
    columns: dict[str, str] = Field(default_factory=dict)


class Row(BaseModel):
    """A row and its number in the split."""

    number: int
    values: dict[str, Any]


class Hub(Protocol):
    """Where data sets and models are looked for. Every method raises TrexError for what can't be had."""

    @property
    def title(self) -> str:
        """What the hub is called in a tool's answer."""
        ...

    def search(self, kind: Kind, query: str, most: int) -> list[Listing]:
        """Data sets or models whose name or description fits, most used first."""
        ...

    def card(self, name: str) -> Card:
        """The card of a data set."""
        ...

    def tables(self, name: str) -> list[Table]:
        """The configurations and splits of a data set."""
        ...

    def rows(self, name: str, config: str, split: str, offset: int, most: int) -> list[Row]:
        """Rows from `offset` on."""
        ...


def checked_name(name: str) -> str:
    """The name of a repository. Raises InputError for what is none: it becomes part of an address or a path."""
    if not _NAME.fullmatch(name) or ".." in name:
        raise InputError("a data set or model is named 'owner/name', in letters, digits, '.', '_' and '-'")
    return name


def open_hub(http: Http) -> Hub:
    """The folder `TREX_HUB` if it is set, else the Hugging Face hub. Raises InputError if the folder is not there."""
    folder = os.environ.get("TREX_HUB")
    if folder:
        from .local_folder import FolderHub

        return FolderHub(Path(folder).expanduser())
    return HuggingFace(http, environment().get("HF_TOKEN", "").strip() or None)


class HuggingFace:
    """The hub at huggingface.co."""

    title = "the Hugging Face hub"

    def __init__(self, http: Http, token: str | None = None) -> None:
        self._http = http
        self._secrets = {
            host: Secret(host, "Authorization", f"Bearer {token}") if token else None
            for host in (HUB, VIEWER)
        }

    def search(self, kind: Kind, query: str, most: int) -> list[Listing]:
        """By name and description, sorted by downloads. Raises TrexError."""
        params: dict[str, str | int] = {"search": query, "sort": "downloads", "limit": most}
        found = self._json(HUB, f"/api/{kind}", params)
        with _shape(HUB):
            return [
                Listing(
                    name=row["id"],
                    licences=_licences({}, row.get("tags") or []),
                    downloads=row.get("downloads") or 0,
                    about=_about(row.get("tags") or [], row.get("pipeline_tag")),
                )
                for row in found
                if _NAME.fullmatch(str(row["id"]))
            ]

    def card(self, name: str) -> Card:
        """Metadata and README. Raises TrexError."""
        path = quote(checked_name(name))
        facts = self._json(HUB, f"/api/datasets/{path}", {})
        try:
            text = self._http.get(
                f"https://{HUB}/datasets/{path}/raw/main/README.md", accept=TEXT, secret=self._secrets[HUB]
            ).text
        except Unfit as error:
            text = "" if error.status == 404 else f"(its README could not be read: {error})"
        with _shape(HUB):
            tags = facts.get("tags") or []
            return Card(
                name=name,
                licences=_licences(facts.get("cardData") or {}, tags),
                gated=bool(facts.get("gated")),
                downloads=facts.get("downloads") or 0,
                about=_about(tags),
                text=without_metadata(text),
            )

    def tables(self, name: str) -> list[Table]:
        """From the viewer's `/info`. Raises TrexError."""
        found = self._json(VIEWER, "/info", {"dataset": checked_name(name)})
        with _shape(VIEWER):
            return [
                Table(
                    config=config,
                    split=split,
                    rows=facts.get("num_examples"),
                    columns={column: _type(kind) for column, kind in (info.get("features") or {}).items()},
                )
                for config, info in found["dataset_info"].items()
                for split, facts in (info.get("splits") or {}).items()
            ]

    def rows(self, name: str, config: str, split: str, offset: int, most: int) -> list[Row]:
        """From the viewer's `/rows`, or from its first hundred if it has no index. Raises TrexError."""
        which: dict[str, str | int] = {"dataset": checked_name(name), "config": config, "split": split}
        try:
            found = self._json(VIEWER, "/rows", which | {"offset": offset, "length": most})
        except Unfit as error:
            if error.status < 500 or offset >= _FIRST_ROWS:
                raise
            found = self._json(VIEWER, "/first-rows", which)
        with _shape(VIEWER):
            rows = [Row(number=entry["row_idx"], values=entry["row"]) for entry in found["rows"]]
            return [row for row in rows if offset <= row.number < offset + most]

    def _json(self, host: str, path: str, params: dict[str, str | int]) -> Any:
        try:
            return self._http.get(f"https://{host}{path}", params, secret=self._secrets[host]).json()
        except Unfit as error:
            if error.status in (401, 403, 404):
                hint = "there is none of this name, or it is private or gated and needs HF_TOKEN"
                raise Unfit(f"{host} answers {error.status}: {hint}", error.status) from None
            raise


class _shape:
    """Turns the surprise at an answer of another form into an error a person can read."""

    def __init__(self, host: str) -> None:
        self._host = host

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, AttributeError | KeyError | TypeError | ValueError | ValidationError):
            raise TrexError(f"{self._host}: the answer has another form than expected") from None


def without_metadata(text: str) -> str:
    """A README without the block of metadata at its top."""
    return re.sub(r"\A\s*---\s*\n.*?\n---\s*(\n|\Z)", "", text, count=1, flags=re.DOTALL)


def declared_licences(metadata: dict[str, Any]) -> list[str]:
    """What the field `license` of a card's metadata says: a text or a list of them."""
    declared = metadata.get("license", metadata.get("licence"))
    several = declared if isinstance(declared, list) else [declared]
    return [entry for entry in several if isinstance(entry, str) and entry.strip()]


def _licences(metadata: dict[str, Any], tags: list[Any]) -> list[str]:
    tagged = [tag.removeprefix("license:") for tag in map(str, tags) if tag.startswith("license:")]
    return declared_licences(metadata) or tagged


_TELLING = ("language:", "size_categories:", "task_categories:", "task_ids:", "base_model:", "format:")


def _about(tags: list[Any], pipeline: str | None = None) -> list[str]:
    told = [str(tag)[:60] for tag in tags if str(tag).startswith(_TELLING)]
    return ([pipeline] if pipeline else []) + told[:10]


def _type(kind: Any) -> str:
    """A column's type in a word: 'string', 'ClassLabel(neg, pos)', 'list of int64'."""
    if isinstance(kind, list):
        return f"list of {_type(kind[0])}" if kind else "list"
    if not isinstance(kind, dict):
        return str(kind)[:40]
    name = str(kind.get("_type", ""))
    if name == "ClassLabel":
        return f"ClassLabel({', '.join(str(label)[:30] for label in (kind.get('names') or [])[:20])})"
    if name in ("Sequence", "List", "LargeList"):
        return f"list of {_type(kind.get('feature'))}"
    if name == "Value" or "dtype" in kind:
        return str(kind.get("dtype", name))[:40]
    return name[:40] or f"{{{', '.join(map(str, list(kind)[:10]))}}}"[:120]
