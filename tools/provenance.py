"""Records what was opened in a session of research, so that the sources an agent names can be checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urldefrag

from .hub.licences import LicenceVerdict
from .web.addresses import Refused, host_of, parse_address

SITES = (
    *("arxiv.org", "aclanthology.org", "openreview.net", "semanticscholar.org", "openalex.org"),
    *("jmlr.org", "proceedings.mlr.press", "proceedings.neurips.cc", "papers.nips.cc", "huggingface.co"),
)
"""Scholarly and hub sites whose pages may be read although no search returned them."""

_MAX_PATH = 200  # characters: a long path could carry data out


@dataclass
class Provenance:
    """The record of one session: written by tools, read by the check of the agent's answer."""

    pages: list[str] = field(default_factory=list)
    """Addresses of pages that were read, in order."""
    papers: list[str] = field(default_factory=list)
    """Addresses of papers whose title and abstract were shown."""
    verdicts: dict[str, LicenceVerdict] = field(default_factory=dict)
    """By data set: what the licence in its metadata allows."""
    _allowed: set[str] = field(default_factory=set)
    _rows: dict[str, set[tuple[str, str, int]]] = field(default_factory=dict)

    @property
    def licences(self) -> dict[str, str]:
        """By data set: the licence in its metadata, 'unknown' if there is none."""
        return {name: verdict.licence for name, verdict in self.verdicts.items()}

    @property
    def rows_seen(self) -> dict[str, int]:
        """By data set: the number of different rows that were shown."""
        return {name: len(rows) for name, rows in self._rows.items()}

    def record(self) -> dict[str, Any]:
        """All of it as JSON."""
        return {
            "pages": [*self.pages],
            "papers": [*self.papers],
            "verdicts": {name: verdict.model_dump() for name, verdict in self.verdicts.items()},
            "allowed": sorted(self._allowed),
            "rows": {name: sorted(map(list, rows)) for name, rows in self._rows.items()},
        }

    def restore(self, record: Mapping[str, Any]) -> None:
        """Add what `record` gave, in this process or another one."""
        for known, recorded in ((self.pages, "pages"), (self.papers, "papers")):
            known += [url for url in record.get(recorded, ()) if url not in known]
        self.verdicts |= {n: LicenceVerdict(**fields) for n, fields in record.get("verdicts", {}).items()}
        self._allowed.update(record.get("allowed", ()))
        for name, rows in record.get("rows", {}).items():
            self._rows.setdefault(name, set()).update((config, split, row) for config, split, row in rows)

    def add_rows(self, name: str, config: str, split: str, numbers: list[int]) -> None:
        """Record rows of a data set that were shown."""
        self._rows.setdefault(name, set()).update((config, split, number) for number in numbers)

    def allow(self, url: str) -> bool:
        """Allow an address that a search returned. False if it is not a valid address."""
        try:
            parse_address(url)
        except Refused:
            return False
        self._allowed.add(_plain(url))
        return True

    def may_open(self, url: str) -> bool:
        """Whether a page may be read: a search returned it, or it is a plain page of a known site.

        Otherwise a page could make the agent send data to its author in an address.
        """
        return _plain(url) in self._allowed or is_known_site(url)

    def add_page(self, url: str) -> None:
        """Record a page that was read."""
        if url not in self.pages:
            self.pages.append(url)

    def add_paper(self, url: str) -> None:
        """Record a paper whose abstract was shown."""
        if url not in self.papers:
            self.papers.append(url)


def is_known_site(url: str) -> bool:
    """Whether this is a page of one of `SITES`, over https, without a query."""
    try:
        parts = parse_address(url)
    except Refused:
        return False
    host = host_of(url)
    known = any(host == site or host.endswith(f".{site}") for site in SITES)
    return known and parts.scheme == "https" and not parts.query and len(parts.path) <= _MAX_PATH


def _plain(url: str) -> str:
    """The address without its fragment and final slash, for comparison."""
    return urldefrag(url).url.rstrip("/")
