"""A fake web for tests: responses by host and path, recorded requests, and a name resolver."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from langchain_core.tools import BaseTool
from trex.tools.hub.hugging_face import HuggingFace
from trex.tools.provenance import Provenance
from trex.tools.research_tools import research_tools
from trex.tools.web.http_client import Http

from support.places import DATA

RECORDED = DATA / "recorded"
PUBLIC = "93.184.216.34"

Handler = Callable[[httpx.Request], httpx.Response]


def recorded(name: str) -> str:
    return (RECORDED / name).read_text(encoding="utf-8")


def answer(
    body: str | bytes, kind: str = "application/json", status: int = 200, **headers: str
) -> httpx.Response:
    """A streamed response: its size is not known in advance."""
    raw = body.encode() if isinstance(body, str) else body
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, headers={"content-type": kind, **named}, stream=httpx.ByteStream(raw))


def page(text: str, kind: str = "text/html; charset=utf-8") -> Handler:
    return lambda request: answer(text, kind)


def recording(name: str, kind: str = "application/json") -> Handler:
    return lambda request: answer(recorded(name), kind)


def redirect(to: str, status: int = 302) -> Handler:
    return lambda request: answer(b"", "text/html", status, location=to)


@dataclass
class Web:
    """Handlers by 'host/path'; everything else is a 404. `names` sets the IP addresses of hosts, else a public one."""

    handlers: Mapping[str, Handler] = field(default_factory=dict)
    names: Mapping[str, list[str]] = field(default_factory=dict)
    down: bool = False
    asked: list[httpx.Request] = field(default_factory=list)
    looked_up: list[str] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)
    now: float = 0.0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        if self.down:
            raise httpx.ConnectError("refused", request=request)
        handler = self.handlers.get(f"{request.url.host}{request.url.path}")
        return handler(request) if handler else answer("not here", "text/plain", 404)

    def resolve(self, host: str, port: int) -> list[str]:
        self.looked_up.append(host)
        return self.names.get(host, [PUBLIC])

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def http(self, cache: Path | None = None, **options: Any) -> Http:
        return Http(
            cache,
            transport=httpx.MockTransport(self),
            resolve=self.resolve,
            sleep=self.sleep,
            clock=lambda: self.now,
            **options,
        )

    def tools(self, provenance: Provenance, cache: Path | None = None) -> dict[str, BaseTool]:
        http = self.http(cache)
        return {tool.name: tool for tool in research_tools(http, HuggingFace(http), provenance)}

    @property
    def hosts(self) -> list[str]:
        return [request.url.host for request in self.asked]


def body_of(request: httpx.Request) -> Any:
    return json.loads(request.content)
