"""The tool `search_papers`: arXiv, Semantic Scholar, OpenAlex, PubMed and Wikipedia by their public interfaces.

- arXiv: https://info.arxiv.org/help/api/user-manual.html (Atom; one request per 3 s)
- Semantic Scholar: https://api.semanticscholar.org/api-docs/graph (a key, `SEMANTIC_SCHOLAR_API_KEY`, is optional)
- OpenAlex: https://docs.openalex.org (abstracts are an index of words by position)
- PubMed: langchain-community's wrapper
- Wikipedia: https://www.mediawiki.org/wiki/API:Search

Of langchain-community 0.4's other wrappers, that of arXiv calls `Search.results`, which the package arxiv no longer
has (4.0); that of Semantic Scholar takes no key and returns no addresses; that of Wikipedia depends on a package of
2014 that asks over http and without a time limit. So these are asked by our client.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal
from urllib.error import HTTPError, URLError
from xml.etree import ElementTree
from xml.parsers.expat import ExpatError

from langchain_core.tools import BaseTool
from pydantic import BaseModel, Field

from ...errors import InputError, TrexError
from ...evaluation.words import words
from ...keys import environment
from ..agent_tool import agent_tool
from ..excerpt import brief, fitting
from ..provenance import Provenance
from ..untrusted import quoted
from .addresses import call_with_timeout
from .http_client import FEED, Http, Secret, UnusableResponse

ARXIV = "https://export.arxiv.org/api/query"
SEMANTIC_SCHOLAR = "https://api.semanticscholar.org/graph/v1/paper/search"
OPENALEX = "https://api.openalex.org/works"

WIKIPEDIA = "https://en.wikipedia.org/w/api.php"
PUBMED_HOST = "eutils.ncbi.nlm.nih.gov"

EngineName = Literal["openalex", "arxiv", "semantic_scholar", "pubmed", "wikipedia"]

_ENGINE = (
    "openalex: all fields; arxiv: newest preprints; semantic_scholar: by meaning (often overloaded); "
    "pubmed: medicine and biology; wikipedia: articles on terms"
)
_PUBMED_S = 20.0
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
        except (AttributeError, TypeError, KeyError, ValueError, ElementTree.ParseError, ExpatError):
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


def _pubmed(http: Http, query: str, most: int) -> list[Paper]:
    request = ["pubmed", query, most]
    found = http.cache.get(request)
    if found is None:
        found = _ask_pubmed(http, query, most)
        http.cache.put(request, found)
    return [
        Paper(
            title=_text(row["Title"]),
            year=str(row.get("Published") or "").strip("-")[:4],
            venue="PubMed",
            abstract=_text(row.get("Summary")),
            url=f"https://pubmed.ncbi.nlm.nih.gov/{int(row['uid'])}/",
        )
        for row in found
    ]


def _ask_pubmed(http: Http, query: str, most: int) -> list[dict[str, Any]]:
    """By langchain-community's wrapper, which opens its addresses without a time limit and prints while it retries."""
    try:
        from langchain_community.utilities.pubmed import PubMedAPIWrapper

        pubmed = PubMedAPIWrapper(parse=None, top_k_results=most, max_retry=0)
    except ImportError:
        raise InputError("pubmed needs the extra `llm`: pip install 'trex-finetune[llm]'") from None
    http.check_reachable(PUBMED_HOST)
    try:
        return call_with_timeout(lambda: pubmed.load(query), _PUBMED_S)
    except HTTPError as error:
        raise UnusableResponse(f"{PUBMED_HOST} answers {error.code}", error.code) from None
    except (URLError, TimeoutError):
        raise http.connection_failed(PUBMED_HOST) from None


def _text(value: Any) -> str:
    """Text of an XML element, which is a dictionary if it contains marks such as <i>."""
    return str(value.get("#text") or "") if isinstance(value, dict) else str(value or "")


def _wikipedia(http: Http, query: str, most: int) -> list[Paper]:
    wanted: dict[str, str | int] = {
        "action": "query", "format": "json", "formatversion": 2,
        "generator": "search", "gsrsearch": query, "gsrlimit": most,
        "prop": "extracts|info", "exintro": 1, "explaintext": 1, "exlimit": most, "inprop": "url",
    }  # fmt: skip
    found = http.get(WIKIPEDIA, wanted).json()
    pages = (found.get("query") or {}).get("pages") or []
    return [
        Paper(title=row["title"], venue="Wikipedia", abstract=row.get("extract") or "", url=row["fullurl"])
        for row in sorted(pages, key=lambda row: row["index"])
    ]


_ENGINES: dict[EngineName, Callable[[Http, str, int], list[Paper]]] = {
    "openalex": _openalex,
    "arxiv": _arxiv,
    "semantic_scholar": _semantic_scholar,
    "pubmed": _pubmed,
    "wikipedia": _wikipedia,
}
