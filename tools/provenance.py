"""What was really opened in a session of research, so that a claim to have looked at something can be checked."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urldefrag

from .hub.licences import Verdict
from .web.addresses import Refused, host_of, parse

SITES = (
    *("arxiv.org", "aclanthology.org", "openreview.net", "semanticscholar.org", "openalex.org"),
    *("jmlr.org", "proceedings.mlr.press", "proceedings.neurips.cc", "papers.nips.cc", "huggingface.co"),
)
"""Scholarly and hub sites whose pages may be read without having been found by a search."""

_LONGEST_PATH = 200  # of such a page: an address can carry away what it spells


@dataclass
class Provenance:
    """The record of one session. Tools write it; who judges the session's answer reads it."""

    pages: list[str] = field(default_factory=list)
    """Addresses of the pages that were read, in order."""
    papers: list[str] = field(default_factory=list)
    """Addresses of the papers whose title and abstract were shown."""
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    """By data set: what the licence that its metadata declares allows, from its card or a search."""
    _offered: set[str] = field(default_factory=set)
    _rows: dict[str, set[tuple[str, str, int]]] = field(default_factory=dict)

    @property
    def licences(self) -> dict[str, str]:
        """By data set: the licence that its metadata declares, 'unknown' if none."""
        return {name: verdict.licence for name, verdict in self.verdicts.items()}

    @property
    def rows_seen(self) -> dict[str, int]:
        """By data set: how many different rows were shown."""
        return {name: len(rows) for name, rows in self._rows.items()}

    def saw_rows(self, name: str, config: str, split: str, numbers: list[int]) -> None:
        """Rows of a data set were shown."""
        self._rows.setdefault(name, set()).update((config, split, number) for number in numbers)

    def offer(self, url: str) -> bool:
        """A search has returned this address: it may be read. False for one that can't be an address."""
        try:
            parse(url)
        except Refused:
            return False
        self._offered.add(_plain(url))
        return True

    def may_open(self, url: str) -> bool:
        """Whether a page may be read: one that a search returned, or a plain page of a known site.

        Else a page that was read could send the agent, with what it knows in the address, to its author.
        """
        return _plain(url) in self._offered or is_known_site(url)

    def opened(self, url: str) -> None:
        """A page was read."""
        if url not in self.pages:
            self.pages.append(url)


def is_known_site(url: str) -> bool:
    """A page of one of `SITES`, over https, without a query."""
    try:
        parts = parse(url)
    except Refused:
        return False
    host = host_of(url)
    known = any(host == site or host.endswith(f".{site}") for site in SITES)
    return known and parts.scheme == "https" and not parts.query and len(parts.path) <= _LONGEST_PATH


def _plain(url: str) -> str:
    """An address as addresses are compared: without its fragment and a final slash."""
    return urldefrag(url).url.rstrip("/")
