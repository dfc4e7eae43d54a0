"""Web search engines: Tavily if `TAVILY_API_KEY` is set, else public engines through the library ddgs.

Tavily (https://docs.tavily.com) is called by our own HTTP client and not by its library: so the key is sent to its
host only, responses are cached, and text of the server stays out of errors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from pydantic import BaseModel, ValidationError

from ...errors import InputError, TrexError
from ...keys import environment
from .addresses import call_with_timeout, host_of
from .http_client import Http, Secret, UnusableResponse

TAVILY = "https://api.tavily.com/search"

_DDGS_ENGINES = ("duckduckgo", "mojeek", "brave")  # general engines of ddgs that need no key
_DDGS_HOST = "html.duckduckgo.com"
_DDGS_TIMEOUT_S = 15.0


class SearchHit(BaseModel):
    """One result of a search."""

    title: str = ""
    url: str = ""
    snippet: str = ""


class SearchEngine(Protocol):
    """A web search engine."""

    @property
    def title(self) -> str:
        """Its name in a tool's result."""

    def search(self, query: str, most: int) -> list[SearchHit]:
        """At most `most` results, best first. Raises TrexError."""


class Tavily:
    """See `SearchEngine`."""

    title = "Tavily"

    def __init__(self, http: Http, key: str) -> None:
        self._http = http
        self._secret = Secret(host_of(TAVILY), "Authorization", f"Bearer {key}")

    @classmethod
    def if_available(cls, http: Http) -> Tavily | None:
        """The engine; None without `TAVILY_API_KEY`."""
        key = environment().get("TAVILY_API_KEY", "").strip()
        return cls(http, key) if key else None

    def search(self, query: str, most: int) -> list[SearchHit]:
        """By its interface `/search`."""
        body = {"query": query, "max_results": most, "search_depth": "basic"}
        try:
            answer = self._http.post(TAVILY, body, secret=self._secret).json()
        except UnusableResponse as error:
            refused = 400 <= error.status < 500
            hint = "TAVILY_API_KEY is not accepted, or its quota is used up" if refused else "try later"
            raise TrexError(f"{error}; {hint}") from None
        return _hits(answer.get("results") if isinstance(answer, dict) else None, "content", "url")


class PublicEngines:
    """See `SearchEngine`. ddgs has its own HTTP client, so it is called only if its first engine is reachable."""

    title = "public search engines"

    def __init__(self, http: Http) -> None:
        self._http = http

    @classmethod
    def if_available(cls, http: Http) -> PublicEngines:
        """The engine: it needs no key."""
        return cls(http)

    def search(self, query: str, most: int) -> list[SearchHit]:
        """Through ddgs. Raises InputError if it is not installed."""
        request = ["ddgs", query, most]
        found = self._http.cache.get(request)
        if found is None:
            found = self._search(query, most)
            if found:
                self._http.cache.put(request, found)
        return _hits(found, "body", "href")

    def _search(self, query: str, most: int) -> list[dict[str, Any]]:
        try:
            from ddgs import DDGS
            from ddgs.exceptions import DDGSException
        except ImportError:
            raise InputError("web_search needs the extra `llm`: pip install 'trex-finetune[llm]'") from None
        self._http.check_reachable(_DDGS_HOST)
        engines = ",".join(_DDGS_ENGINES)
        try:
            return call_with_timeout(
                lambda: DDGS(timeout=5).text(query, max_results=most, backend=engines), _DDGS_TIMEOUT_S
            )
        except TimeoutError:
            raise self._http.connection_failed(_DDGS_HOST) from None
        except DDGSException as error:
            if "No results" in str(error):
                return []
            raise TrexError(
                "web_search: the public search engines gave no answer; set TAVILY_API_KEY, or try later"
            ) from None


ENGINES: tuple[Callable[[Http], SearchEngine | None], ...] = (Tavily.if_available, PublicEngines.if_available)
"""In order of preference. To add an engine, add its `if_available`: None means that it cannot be used."""


def open_search_engine(http: Http) -> SearchEngine:
    """The first engine that is available."""
    return next(engine for make in ENGINES if (engine := make(http)) is not None)


def _hits(found: Any, text: str, address: str) -> list[SearchHit]:
    """Results from an engine's own fields. Raises TrexError for other fields than expected."""
    try:
        return [
            SearchHit(title=row.get("title") or "", url=row.get(address) or "", snippet=row.get(text) or "")
            for row in found or []
        ]
    except (AttributeError, TypeError, ValidationError):
        raise TrexError("web_search: the search engine's answer does not have the expected format") from None
