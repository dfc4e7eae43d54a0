"""The tools of open-domain research, in one list: the web, papers, and the hub."""

from __future__ import annotations

from langchain_core.tools import BaseTool

from .hub.hub_tools import hub_tools
from .hub.hugging_face import Hub
from .provenance import Provenance
from .web.http_client import Http
from .web.papers import papers_tool
from .web.web_tools import page_tool, search_tool


def research_tools(http: Http, hub: Hub, provenance: Provenance) -> list[BaseTool]:
    """Every tool that looks outside. `provenance` records what was really opened.

    Each raises TrexError with one line for what it can't do; none takes more than about a minute, and where there
    is no network each says so at once after the first two tries.
    """
    return [
        search_tool(http, provenance),
        page_tool(http, provenance),
        papers_tool(http, provenance),
        *hub_tools(hub, provenance),
    ]
