"""The tools of open-domain research: web, papers and hub."""

from __future__ import annotations

from langchain_core.tools import BaseTool

from .hub.hub_tools import hub_tools
from .hub.protocol import Hub
from .provenance import Provenance
from .web.http_client import Http
from .web.papers import papers_tool
from .web.web_tools import page_tool, search_tool


def research_tools(http: Http, hub: Hub, provenance: Provenance) -> list[BaseTool]:
    """All tools that use the network. `provenance` records what was opened.

    Each raises TrexError with one line. None takes more than about a minute; without a network each fails at once
    after the first two attempts.
    """
    return [
        search_tool(http, provenance),
        page_tool(http, provenance),
        papers_tool(http, provenance),
        *hub_tools(hub, provenance),
    ]
