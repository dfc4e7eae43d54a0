"""The tools of open-domain research, in one list: the web, papers, and the hub."""

from __future__ import annotations

from langchain_core.tools import BaseTool

from .http import Http
from .hub import Hub
from .hub_tools import hub_tools
from .papers import papers_tool
from .visited import Visited
from .web import page_tool, search_tool


def research_tools(http: Http, hub: Hub, visited: Visited) -> list[BaseTool]:
    """Every tool that looks outside. `visited` records what was really opened.

    Each raises TrexError with one line for what it can't do; none takes more than about a minute, and where there
    is no network each says so at once after the first two tries.
    """
    return [
        search_tool(http, visited),
        page_tool(http, visited),
        papers_tool(http, visited),
        *hub_tools(hub, visited),
    ]
