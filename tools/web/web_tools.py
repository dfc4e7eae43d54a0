"""The tools `web_search` and `read_page`.

Searches go to Tavily (https://docs.tavily.com) if `TAVILY_API_KEY` is set, else through the library ddgs to
public search engines. Tavily is asked by our own client, not its library: there the key stays with its host,
answers are cached, and a server's words are kept out of errors. A page is read only if a search returned its
address, or if it is of a known scholarly site (`provenance.SITES`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from langchain_core.tools import BaseTool
from pydantic import BaseModel, Field, ValidationError

from ...errors import InputError, TrexError
from ...keys import environment
from ..agent_tool import agent_tool
from ..excerpt import brief, fitting
from ..provenance import Provenance, is_known_site
from ..untrusted import quoted
from .addresses import Refused, bounded, host_of, parse
from .http_client import TEXT, Http, Page, Secret, Unfit

TAVILY = "https://api.tavily.com/search"
_ENGINES = ("duckduckgo", "mojeek", "brave")  # of ddgs: general ones that need no key
_ENGINE_HOST = "html.duckduckgo.com"
_ENGINE_S = 15.0
_READ_S = 15.0
_SNIPPET = 500
_LONGEST_ADDRESS = 500  # a longer one would not be shown whole, and a cut one can't be opened
_CHUNK = 7_500
_CHUNK_QUOTED = 10_000  # room for what `quoted` adds to a page full of fake roles


class Hit(BaseModel):
    """One result of a search."""

    title: str = ""
    url: str = ""
    snippet: str = ""


Engine = Callable[[str, int], list[Hit]]


class SearchArguments(BaseModel):
    """Input of the tool `web_search`."""

    query: str = Field(min_length=2, max_length=300, description="What to look for, in a few words")
    most: int = Field(default=5, ge=1, le=10, description="Results to return")


class PageArguments(BaseModel):
    """Input of the tool `read_page`."""

    url: str = Field(max_length=2000, description="An address that a search returned, as it was returned")
    offset: int = Field(default=0, ge=0, description="The character to read on from")


def search_tool(http: Http, provenance: Provenance) -> BaseTool:
    """The tool `web_search`. Raises TrexError if no search engine answers."""

    def web_search(query: str, most: int = 5) -> str:
        name, search = _engine(http)
        hits = [hit for hit in search(query, most) if _offer(hit, provenance)]
        if not hits:
            return "nothing was found: try other or fewer words"
        return quoted(fitting(_shown(hit) for hit in hits[:most]), f"{name}, results for a query")

    return agent_tool(
        web_search,
        "Search the web for practice, methods or data. Returns titles, addresses and snippets; read_page opens them.",
        SearchArguments,
    )


def page_tool(http: Http, provenance: Provenance) -> BaseTool:
    """The tool `read_page`. Raises Refused for an address no search returned, TrexError for what can't be read."""

    def read_page(url: str, offset: int = 0) -> str:
        parse(url)
        if not provenance.may_open(url):
            raise Refused(
                "read_page opens what a search of this session returned, and plain pages of known scholarly sites"
            )
        known = is_known_site(url)
        page = http.get(url, accept=TEXT, allowed=lambda hop: not known or hop == url or is_known_site(hop))
        text = readable(page)
        provenance.opened(url)
        part = text[offset : offset + _CHUNK]
        if not part:
            return f"the page's text has {len(text)} characters: nothing is at {offset}"
        end = offset + len(part)
        more = f"; go on with offset={end}" if end < len(text) else ""
        return f"characters {offset} to {end} of {len(text)}{more}\n" + quoted(
            part, f"the page {url}", _CHUNK_QUOTED
        )

    return agent_tool(
        read_page, "Read the text of a page that a search returned, in parts by `offset`.", PageArguments
    )


def readable(page: Page) -> str:
    """The readable text of a page, without scripts, menus and what is not shown. Raises TrexError."""
    if page.content_type not in ("text/html", "application/xhtml+xml"):
        return page.text
    try:
        import trafilatura
    except ImportError:
        raise InputError("read_page needs the extra `llm`: pip install 'trex-finetune[llm]'") from None
    logging.getLogger("trafilatura").setLevel(logging.CRITICAL)  # what it can't read, we say
    try:
        text = bounded(
            lambda: trafilatura.extract(page.text, include_comments=False) or trafilatura.html2txt(page.text),
            _READ_S,
        )
    except TimeoutError:
        raise TrexError(f"{host_of(page.url)}: the page takes too long to read") from None
    except Exception as error:  # a page can be broken in any way
        raise TrexError(f"{host_of(page.url)}: the page can't be read ({type(error).__name__})") from None
    if not text:
        raise TrexError(f"{host_of(page.url)}: the page has no text to read")
    return text


def _engine(http: Http) -> tuple[str, Engine]:
    key = environment().get("TAVILY_API_KEY", "").strip()
    if key:
        return "Tavily", lambda query, most: _tavily(http, key, query, most)
    return "public search engines", lambda query, most: _ddgs(http, query, most)


def _tavily(http: Http, key: str, query: str, most: int) -> list[Hit]:
    secret = Secret(host_of(TAVILY), "Authorization", f"Bearer {key}")
    body = {"query": query, "max_results": most, "search_depth": "basic"}
    try:
        answer = http.post(TAVILY, body, secret=secret).json()
    except Unfit as error:
        hint = (
            "TAVILY_API_KEY is not accepted, or its plan is used up"
            if 400 <= error.status < 500
            else "try later"
        )
        raise TrexError(f"{error}; {hint}") from None
    return _hits(answer.get("results") if isinstance(answer, dict) else None, "content", "url")


def _ddgs(http: Http, query: str, most: int) -> list[Hit]:
    """Through ddgs, which has a client of its own: it is only started where its first engine can be reached."""
    try:
        from ddgs import DDGS
        from ddgs.exceptions import DDGSException
    except ImportError:
        raise InputError("web_search needs the extra `llm`: pip install 'trex-finetune[llm]'") from None
    question = ["ddgs", query, most]
    found = http.answers.get(question)
    if found is None:
        http.reach(_ENGINE_HOST)
        try:
            found = bounded(
                lambda: DDGS(timeout=5).text(query, max_results=most, backend=",".join(_ENGINES)), _ENGINE_S
            )
        except TimeoutError:
            raise http.failed(_ENGINE_HOST) from None
        except DDGSException as error:
            if "No results" in str(error):
                return []
            raise TrexError(
                "web_search: the public search engines gave no answer; set TAVILY_API_KEY, or try later"
            ) from None
        http.answers.keep(question, found)
    return _hits(found, "body", "href")


def _hits(found: Any, text: str, address: str) -> list[Hit]:
    """Results in an engine's own form, as ours. Raises TrexError for another form."""
    try:
        return [
            Hit(title=row.get("title") or "", url=row.get(address) or "", snippet=row.get(text) or "")
            for row in found or []
        ]
    except (AttributeError, TypeError, ValidationError):
        raise TrexError("web_search: the search engine's answer has another form than expected") from None


def _offer(hit: Hit, provenance: Provenance) -> bool:
    return len(hit.url) <= _LONGEST_ADDRESS and provenance.offer(hit.url)


def _shown(hit: Hit) -> str:
    return f"{brief(hit.title, 150)} ({host_of(hit.url)})\n  {hit.url}\n  {brief(hit.snippet, _SNIPPET)}"
