"""The Hugging Face hub, by its HTTP interfaces; nothing is downloaded but metadata and single rows.

Search and cards: https://huggingface.co/docs/hub/api. Schemas and rows: https://huggingface.co/docs/dataset-viewer.
`HF_TOKEN` is optional and is sent to these two hosts only.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

from pydantic import ValidationError

from ...errors import TrexError
from ..web.http_client import TEXT, Http, Secret, UnusableResponse
from .protocol import (
    Card,
    HubRow,
    Kind,
    Listing,
    SplitSchema,
    checked_name,
    declared_licences,
    is_name,
    without_metadata,
)

HUB = "huggingface.co"
VIEWER = "datasets-server.huggingface.co"

_FIRST_ROWS = 100  # rows that the viewer keeps of a data set without an index


class HuggingFace:
    """See `protocol.Hub`."""

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
        with _expected_format(HUB):
            return [
                Listing(
                    name=row["id"],
                    licences=_licences({}, row.get("tags") or []),
                    downloads=row.get("downloads") or 0,
                    about=_about(row.get("tags") or [], row.get("pipeline_tag")),
                )
                for row in found
                if is_name(str(row["id"]))
            ]

    def card(self, name: str) -> Card:
        """Metadata and README. Raises TrexError."""
        path = quote(checked_name(name))
        facts = self._json(HUB, f"/api/datasets/{path}", {})
        try:
            text = self._http.get(
                f"https://{HUB}/datasets/{path}/raw/main/README.md", accept=TEXT, secret=self._secrets[HUB]
            ).text
        except UnusableResponse as error:
            text = "" if error.status == 404 else f"(the README could not be read: {error})"
        with _expected_format(HUB):
            tags = facts.get("tags") or []
            return Card(
                name=name,
                licences=_licences(facts.get("cardData") or {}, tags),
                gated=bool(facts.get("gated")),
                downloads=facts.get("downloads") or 0,
                about=_about(tags),
                text=without_metadata(text),
            )

    def splits(self, name: str) -> list[SplitSchema]:
        """From the viewer's `/info`. Raises TrexError."""
        found = self._json(VIEWER, "/info", {"dataset": checked_name(name)})
        with _expected_format(VIEWER):
            return [
                SplitSchema(
                    config=config,
                    split=split,
                    rows=facts.get("num_examples"),
                    columns={column: _type(kind) for column, kind in (info.get("features") or {}).items()},
                )
                for config, info in found["dataset_info"].items()
                for split, facts in (info.get("splits") or {}).items()
            ]

    def rows(self, name: str, config: str, split: str, offset: int, most: int) -> list[HubRow]:
        """From the viewer's `/rows`; from `/first-rows` if the data set has no index. Raises TrexError."""
        which: dict[str, str | int] = {"dataset": checked_name(name), "config": config, "split": split}
        try:
            found = self._json(VIEWER, "/rows", which | {"offset": offset, "length": most})
        except UnusableResponse as error:
            if error.status < 500 or offset >= _FIRST_ROWS:
                raise
            found = self._json(VIEWER, "/first-rows", which)
        with _expected_format(VIEWER):
            rows = [HubRow(number=entry["row_idx"], values=entry["row"]) for entry in found["rows"]]
            return [row for row in rows if offset <= row.number < offset + most]

    def _json(self, host: str, path: str, params: dict[str, str | int]) -> Any:
        try:
            return self._http.get(f"https://{host}{path}", params, secret=self._secrets[host]).json()
        except UnusableResponse as error:
            if error.status in (401, 403, 404):
                hint = "no repository of this name, or it is private or gated and needs HF_TOKEN"
                raise UnusableResponse(f"{host} answers {error.status}: {hint}", error.status) from None
            raise


@contextmanager
def _expected_format(host: str) -> Iterator[None]:
    """Raises TrexError if the response does not have the documented fields."""
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError, ValidationError):
        raise TrexError(f"{host}: the response does not have the expected format") from None


def _licences(metadata: dict[str, Any], tags: list[Any]) -> list[str]:
    tagged = [tag.removeprefix("license:") for tag in map(str, tags) if tag.startswith("license:")]
    return declared_licences(metadata) or tagged


_SHOWN_TAGS = ("language:", "size_categories:", "task_categories:", "task_ids:", "base_model:", "format:")


def _about(tags: list[Any], pipeline: str | None = None) -> list[str]:
    shown = [str(tag)[:60] for tag in tags if str(tag).startswith(_SHOWN_TAGS)]
    return ([pipeline] if pipeline else []) + shown[:10]


def _type(kind: Any) -> str:
    """A column's type in short: 'string', 'ClassLabel(neg, pos)', 'list of int64'."""
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
