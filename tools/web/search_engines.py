"""Web search engines: Tavily if `TAVILY_API_KEY` is set, else public engines through langchain-community and ddgs."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Protocol

from pydantic import BaseModel, ValidationError
from tavily import TavilyClient

from ...errors import InputError, TrexError
from ...keys import environment
from .addresses import call_with_timeout
from .http_client import Http, UnusableResponse
from .requests_adapter import open_session

_TAVILY_READ_S = 15.0  # its own limit for opening a page
_DDGS_ENGINES = ("duckduckgo", "mojeek", "brave")  # general engines of ddgs that need no key
_DDGS_HOST = "html.duckduckgo.com"
_DDGS_TIMEOUT_S = 15.0
_OTHER_FORMAT = "web_search: the search engine's answer does not have the expected format"


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
    """See `SearchEngine`. Tavily's own client (https://docs.tavily.com), on a session of ours."""

    title = "Tavily"

    def __init__(self, http: Http, key: str) -> None:
        self._client = TavilyClient(key, session=open_session(http))

    @classmethod
    def if_available(cls, http: Http) -> Tavily | None:
        """The engine; None without `TAVILY_API_KEY`."""
        key = environment().get("TAVILY_API_KEY", "").strip()
        return cls(http, key) if key else None

    def search(self, query: str, most: int) -> list[SearchHit]:
        """By its interface `/search`."""
        answer = self._ask(lambda: self._client.search(query, search_depth="basic", max_results=most))
        return _hits(answer.get("results"), "content", "url")

    def extract(self, url: str) -> str:
        """The text of a page as Tavily reads it, by its interface `/extract`; empty if it cannot."""
        answer = self._ask(lambda: self._client.extract(url, format="text", timeout=_TAVILY_READ_S))
        found = [row.get("raw_content") for row in answer.get("results") or [] if isinstance(row, dict)]
        return next((text for text in found if isinstance(text, str)), "")

    def _ask(self, call: Callable[[], Any]) -> dict[str, Any]:
        try:
            answer = call()
        except UnusableResponse as error:
            refused = 400 <= error.status < 500
            hint = "TAVILY_API_KEY is not accepted, or its quota is used up" if refused else "try later"
            raise TrexError(f"{error}; {hint}") from None
        except (AttributeError, json.JSONDecodeError, RecursionError):  # its client expects an object
            answer = None
        if not isinstance(answer, dict):
            raise TrexError(_OTHER_FORMAT)
        return answer


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
        """Through langchain-community's wrapper of ddgs. Raises InputError if ddgs is not installed."""
        request = ["ddgs", query, most]
        found = self._http.cache.get(request)
        if found is None:
            found = self._search(query, most)
            if found:
                self._http.cache.put(request, found)
        return _hits(found, "snippet", "link")

    def _search(self, query: str, most: int) -> list[dict[str, str]]:
        try:
            from ddgs.exceptions import DDGSException
            from langchain_community.utilities.duckduckgo_search import DuckDuckGoSearchAPIWrapper

            # Without `time` the wrapper asks for results of the last year only.
            engines = DuckDuckGoSearchAPIWrapper(time=None, backend=",".join(_DDGS_ENGINES))
        except ImportError:
            raise InputError("web_search needs the extra `llm`: pip install 'trex-finetune[llm]'") from None
        self._http.check_reachable(_DDGS_HOST)
        try:
            return call_with_timeout(lambda: engines.results(query, most), _DDGS_TIMEOUT_S)
        except TimeoutError:
            raise self._http.connection_failed(_DDGS_HOST) from None
        except KeyError:
            raise TrexError(_OTHER_FORMAT) from None
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
        raise TrexError(_OTHER_FORMAT) from None
