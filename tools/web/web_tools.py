"""The tools `web_search` and `read_page`.

A page is read only if a search returned its address, or if it belongs to a known scholarly site
(`provenance.SITES`). One that sends no readable text (it needs JavaScript, say) is read by Tavily if there is a key.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Annotated

from langchain_core.tools import BaseTool
from pydantic import Field

from ...errors import InputError, TrexError
from ..agent_tool import agent_tool
from ..excerpt import brief, fitting
from ..provenance import Provenance, is_known_site
from ..untrusted import quoted
from .addresses import NoNetwork, Refused, call_with_timeout, host_of, parse_address
from .http_client import TEXT, Http, Page
from .search_engines import SearchHit, Tavily, open_search_engine

_READ_S = 15.0
_SNIPPET = 500  # characters
_MAX_ADDRESS = 500  # characters; a longer address would be shown cut and could not be opened
_CHUNK = 7_500  # characters of a page in one result
_CHUNK_QUOTED = 10_000  # room for the marks that `quoted` adds to a page with many fake roles


def search_tool(http: Http, provenance: Provenance) -> BaseTool:
    """The tool `web_search`. Raises TrexError if no search engine answers."""

    def web_search(
        query: Annotated[str, Field(min_length=2, max_length=300, description="A few words")],
        most: Annotated[int, Field(ge=1, le=10, description="Number of results")] = 5,
    ) -> str:
        engine = open_search_engine(http)
        hits = [hit for hit in engine.search(query, most) if _allow(hit, provenance)]
        if not hits:
            return "nothing was found: try other or fewer words"
        return quoted(fitting(_hit_lines(hit) for hit in hits[:most]), f"{engine.title}, results for a query")

    return agent_tool(
        web_search,
        "Search the web for practice, methods or data. Returns titles, addresses and snippets; read_page opens them.",
    )


def page_tool(http: Http, provenance: Provenance) -> BaseTool:
    """The tool `read_page`. Raises Refused for an address that no search returned, TrexError for an unreadable page."""

    def read_page(
        url: Annotated[str, Field(max_length=2000, description="An address as a search returned it")],
        offset: Annotated[int, Field(ge=0, description="First character to return")] = 0,
    ) -> str:
        parse_address(url)
        if not provenance.may_open(url):
            raise Refused(
                "read_page opens only what a search of this session returned, and plain pages of known scholarly sites"
            )
        text = _text_of(http, url)
        provenance.add_page(url)
        part = text[offset : offset + _CHUNK]
        if not part:
            return f"the page's text has {len(text)} characters; offset {offset} is past its end"
        end = offset + len(part)
        more = f"; continue with offset={end}" if end < len(text) else ""
        shown = quoted(part, f"the page {url}", _CHUNK_QUOTED)
        return f"characters {offset} to {end} of {len(text)}{more}\n{shown}"

    return agent_tool(read_page, "Read the text of a page that a search returned, in parts by `offset`.")


def _text_of(http: Http, url: str) -> str:
    """The page's text; through Tavily if it cannot be read directly and there is a key, which costs a credit."""
    known = is_known_site(url)
    try:
        return page_text(
            http.get(url, accept=TEXT, allowed=lambda hop: not known or hop == url or is_known_site(hop))
        )
    except (Refused, NoNetwork):
        raise
    except TrexError:
        tavily = Tavily.if_available(http)
        text = ""
        if tavily is not None:
            with suppress(TrexError):
                text = tavily.extract(url)
        if text:
            return text
        raise


def page_text(page: Page) -> str:
    """The text of a page without scripts, menus and hidden parts. Raises TrexError."""
    if page.content_type not in ("text/html", "application/xhtml+xml"):
        return page.text
    try:
        import trafilatura
    except ImportError:
        raise InputError("read_page needs the extra `llm`: pip install 'trex-finetune[llm]'") from None
    logging.getLogger("trafilatura").setLevel(logging.CRITICAL)  # errors are reported below
    try:
        text = call_with_timeout(
            lambda: trafilatura.extract(page.text, include_comments=False) or trafilatura.html2txt(page.text),
            _READ_S,
        )
    except TimeoutError:
        raise TrexError(f"{host_of(page.url)}: the page takes too long to parse") from None
    except Exception as error:  # a broken page can raise anything
        raise TrexError(f"{host_of(page.url)}: the page cannot be parsed ({type(error).__name__})") from None
    if not text:
        raise TrexError(f"{host_of(page.url)}: the page has no text to read")
    return text


def _allow(hit: SearchHit, provenance: Provenance) -> bool:
    return len(hit.url) <= _MAX_ADDRESS and provenance.allow(hit.url)


def _hit_lines(hit: SearchHit) -> str:
    return f"{brief(hit.title, 150)} ({host_of(hit.url)})\n  {hit.url}\n  {brief(hit.snippet, _SNIPPET)}"
