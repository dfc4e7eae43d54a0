"""The tool `search_papers`: arXiv, Semantic Scholar and OpenAlex by their public interfaces.

- arXiv: https://info.arxiv.org/help/api/user-manual.html (Atom; one request per 3 s)
- Semantic Scholar: https://api.semanticscholar.org/api-docs/graph (a key, `SEMANTIC_SCHOLAR_API_KEY`, is optional)
- OpenAlex: https://docs.openalex.org (abstracts are an index of words by position)
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal
from xml.etree import ElementTree

from langchain_core.tools import BaseTool
from pydantic import BaseModel, Field

from ...errors import TrexError
from ...evaluation.words import words
from ...keys import environment
from ..agent_tool import agent_tool
from ..excerpt import brief, fitting
from ..provenance import Provenance
from ..untrusted import quoted
from .http_client import FEED, Http, Secret, UnusableResponse

ARXIV = "https://export.arxiv.org/api/query"
SEMANTIC_SCHOLAR = "https://api.semanticscholar.org/graph/v1/paper/search"
OPENALEX = "https://api.openalex.org/works"

EngineName = Literal["openalex", "arxiv", "semantic_scholar"]

_ENGINE = "openalex: all fields; arxiv: newest preprints; semantic_scholar: by meaning (often overloaded)"
_ABSTRACT = 900  # characters
_MAX_POSITIONS = 5_000  # word positions that are read of an abstract
_ATOM = {"a": "http://www.w3.org/2005/Atom"}


class Paper(BaseModel):
    """A paper in a search result."""

    title: str
    authors: list[str] = Field(default_factory=list)
    year: str = ""
    venue: str = ""
    cited: int | None = None
    abstract: str = ""
    url: str = ""

    def __str__(self) -> str:
        names = ", ".join(brief(name, 60) for name in self.authors[:3])
        names += " et al." if len(self.authors) > 3 else ""
        cited = "" if self.cited is None else f"cited {self.cited} times"
        facts = "; ".join(filter(None, [names, self.year[:10], brief(self.venue, 100), cited, self.url]))
        return f"{brief(self.title, 250)}\n  {facts}\n  {brief(self.abstract, _ABSTRACT)}"


def papers_tool(http: Http, provenance: Provenance) -> BaseTool:
    """The tool `search_papers`. Raises TrexError if the engine gives no usable answer."""

    def search_papers(
        query: Annotated[str, Field(min_length=2, max_length=300, description="The subject, in a few words")],
        engine: Annotated[EngineName, Field(description=_ENGINE)] = "openalex",
        most: Annotated[int, Field(ge=1, le=10, description="Number of papers")] = 5,
    ) -> str:
        try:
            papers = _ENGINES[engine](http, query, most)[:most]
        except UnusableResponse as error:
            others = ", ".join(name for name in _ENGINES if name != engine)
            raise TrexError(f"{error}; other engines: {others}") from None
        except (AttributeError, TypeError, KeyError, ValueError, ElementTree.ParseError):
            raise TrexError(f"search_papers: the answer of {engine} has an unexpected format") from None
        if not papers:
            return "no paper was found: try fewer or other words, or another engine"
        for paper in papers:
            if provenance.allow(paper.url):
                provenance.add_paper(paper.url)
        return quoted(fitting(map(str, papers)), f"{engine}, papers for a query")

    return agent_tool(
        search_papers,
        "Search scholarly papers on methods and data. Returns titles, facts and abstracts; read_page opens "
        "a paper's address (for arXiv the page of the abstract; its full text is often at /html instead of /abs).",
    )


def _arxiv(http: Http, query: str, most: int) -> list[Paper]:
    terms = " AND ".join(f"all:{word}" for word in words(query)[:12])
    wanted: dict[str, str | int] = {
        "search_query": terms,
        "start": 0,
        "max_results": most,
        "sortBy": "relevance",
    }
    page = http.get(ARXIV, wanted, accept=FEED)
    # A feed has neither; entities can expand without bound.
    if "<!DOCTYPE" in page.text or "<!ENTITY" in page.text:
        raise ValueError("not a feed")
    return [_entry(entry) for entry in ElementTree.fromstring(page.text).findall("a:entry", _ATOM)]


def _entry(entry: ElementTree.Element) -> Paper:
    def text(path: str) -> str:
        return " ".join((entry.findtext(path, "", _ATOM) or "").split())

    return Paper(
        title=text("a:title"),
        authors=[" ".join((name.text or "").split()) for name in entry.findall("a:author/a:name", _ATOM)],
        year=text("a:published")[:4],
        venue="arXiv",
        abstract=text("a:summary"),
        url=re.sub(r"^http:", "https:", text("a:id")),
    )


def _semantic_scholar(http: Http, query: str, most: int) -> list[Paper]:
    key = environment().get("SEMANTIC_SCHOLAR_API_KEY", "").strip()
    secret = Secret("api.semanticscholar.org", "x-api-key", key) if key else None
    wanted: dict[str, str | int] = {
        "query": query,
        "limit": most,
        "fields": "title,abstract,year,venue,citationCount,authors,externalIds,url",
    }
    found = http.get(SEMANTIC_SCHOLAR, wanted, secret=secret).json()
    return [
        Paper(
            title=row.get("title") or "",
            authors=[author.get("name") or "" for author in row.get("authors") or []],
            year=str(row.get("year") or ""),
            venue=row.get("venue") or "",
            cited=row.get("citationCount"),
            abstract=row.get("abstract") or "",
            url=_scholar_address(row),
        )
        for row in found.get("data") or []
    ]


def _scholar_address(row: dict[str, Any]) -> str:
    arxiv = (row.get("externalIds") or {}).get("ArXiv")
    return f"https://arxiv.org/abs/{arxiv}" if arxiv else row.get("url") or ""


def _openalex(http: Http, query: str, most: int) -> list[Paper]:
    fields = "id,doi,display_name,publication_year,cited_by_count,authorships,primary_location,abstract_inverted_index"
    found = http.get(OPENALEX, {"search": query, "per-page": most, "select": fields}).json()
    return [_work(row) for row in found.get("results") or []]


def _work(row: dict[str, Any]) -> Paper:
    place = row.get("primary_location") or {}
    authors = [(entry.get("author") or {}).get("display_name") for entry in row.get("authorships") or []]
    return Paper(
        title=row.get("display_name") or "",
        authors=[name for name in authors if name],
        year=str(row.get("publication_year") or ""),
        venue=(place.get("source") or {}).get("display_name") or "",
        cited=row.get("cited_by_count"),
        abstract=_abstract(row.get("abstract_inverted_index") or {}),
        url=place.get("landing_page_url") or row.get("doi") or row.get("id") or "",
    )


def _abstract(index: dict[str, list[int]]) -> str:
    """The abstract, from an index of words by position."""
    words = {
        int(position): str(word)
        for word, positions in list(index.items())[:_MAX_POSITIONS]
        for position in positions[:_MAX_POSITIONS]
    }
    return " ".join(words[position] for position in sorted(words))


_ENGINES: dict[EngineName, Callable[[Http, str, int], list[Paper]]] = {
    "openalex": _openalex,
    "arxiv": _arxiv,
    "semantic_scholar": _semantic_scholar,
}
