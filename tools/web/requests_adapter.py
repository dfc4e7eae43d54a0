"""Libraries that use `requests` go through our HTTP client, with its checks, limits, cache and retries."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import requests
from requests.adapters import BaseAdapter

from .addresses import host_of
from .http_client import Http, Secret


class HttpAdapter(BaseAdapter):
    """Sends a session's JSON queries through `Http`. Its own errors (TrexError) pass through `requests` unchanged.

    So a key in the header Authorization reaches its host only, and no text of a server stands in an error.
    """

    def __init__(self, http: Http) -> None:
        super().__init__()
        self._http = http

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: bool | str = True,
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """The response to a POST of JSON. Limits of time and size are those of `Http`. Raises as `Http.post`."""
        url = str(request.url)
        key = request.headers.get("Authorization")
        secret = Secret(host_of(url), "Authorization", str(key)) if key else None
        body = request.body if isinstance(request.body, str | bytes) else "{}"
        page = self._http.post(url, json.loads(body), secret=secret)
        response = requests.Response()
        response.status_code, response.url, response.request = 200, page.url, request
        response.encoding = "utf-8"
        response._content = page.text.encode()  # as requests-mock does: there is no other way in
        return response

    def close(self) -> None:
        """Nothing is kept open."""


def open_session(http: Http) -> requests.Session:
    """A session that sends everything through `http`."""
    session = requests.Session()
    session.trust_env = False  # no ~/.netrc, which would replace the key
    for scheme in ("https://", "http://"):
        session.mount(scheme, HttpAdapter(http))
    return session
