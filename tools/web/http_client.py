"""The HTTP client of all tools: public addresses only, limits on size and time, a cache, rate limits, retries.

Secrets are sent only to their own host over https, also on redirects. They are not part of files, cache keys or
errors. Errors contain the host and the status, never text of a server.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urljoin

from pydantic import TypeAdapter, ValidationError

from ...errors import InputError, TrexError
from ...home import home
from ..retry_after import retry_after
from .addresses import (
    NoNetwork,
    Refused,
    Resolve,
    call_with_timeout,
    host_of,
    parse_address,
    public_address,
    resolve_host,
)
from .response_cache import ResponseCache

try:
    import httpx
    import tenacity
except ImportError:
    raise InputError("web tools need the extra `llm`: pip install 'trex-finetune[llm]'") from None

JSON = ("application/json",)
TEXT = ("text/html", "application/xhtml+xml", "text/plain", "text/markdown", "application/json")
FEED = ("application/atom+xml", "application/xml", "text/xml")

AGENT = "trex-finetune/0.1 (research agent; reads public pages and metadata at a person's pace)"

_REDIRECTS = 5
_TRANSIENT = {429, 500, 502, 503, 504}
_MAX_WAIT_S = 20.0  # longest wait that a server may ask for before a retry; else the call fails
_PAUSE_S = {"export.arxiv.org": 3.0, "api.semanticscholar.org": 1.0}  # between requests, as they require
_RETRY_NETWORK_S = 300.0
_OFFLINE = "no network: use what works without one, e.g. search_literature"


@dataclass(frozen=True)
class Secret:
    """An API key for one host, sent in one header over https."""

    host: str
    header: str
    value: str = field(repr=False)

    def headers(self, url: str) -> dict[str, str]:
        """The header, if the address belongs to the secret's host."""
        own = host_of(url) == self.host and url.startswith("https://")
        return {self.header: self.value} if own else {}


@dataclass(frozen=True)
class Page:
    """A response: its address after redirects, its media type and its text."""

    url: str
    content_type: str
    text: str

    def json(self) -> Any:
        """The text as JSON. Raises TrexError if it is not JSON."""
        try:
            return json.loads(self.text)
        except (ValueError, RecursionError):
            raise TrexError(f"{host_of(self.url)}: the response is not JSON") from None


_PAGE = TypeAdapter(Page)


@dataclass(frozen=True)
class _Request:
    """A request; `allowed` is checked for every address, redirects included."""

    method: Literal["GET", "POST"]
    url: str
    accept: tuple[str, ...]
    body: dict[str, Any] | None = None
    secret: Secret | None = None
    allowed: Callable[[str], bool] = lambda url: True

    @property
    def key(self) -> list[Any]:
        """Key of the cache, without the secret."""
        return [self.method, self.url, self.body]


class UnusableResponse(TrexError):
    """A response that cannot be used; `status` is its HTTP status."""

    def __init__(self, message: str, status: int = 200) -> None:
        super().__init__(message)
        self.status = status


class _TransientFailure(Exception):
    """A failure worth a retry; `wait_s` is the wait that the server asks for."""

    def __init__(self, status: int, wait_s: float | None) -> None:
        self.status, self.wait_s = status, wait_s


class PinnedTransport(httpx.HTTPTransport):
    """Connects to the IP address that was checked, with the host's name for TLS and the Host header."""

    def __init__(self) -> None:
        # The pool identifies connections by IP address: a reused one could belong to another host's certificate.
        super().__init__(retries=0, limits=httpx.Limits(max_keepalive_connections=0))

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request to the IP address in its extensions."""
        request.extensions["sni_hostname"] = request.url.raw_host.decode("ascii")
        request.url = request.url.copy_with(host=request.extensions["address"])
        return super().handle_request(request)


class Http:
    """A client for one session of research.

    Tests replace `transport` and `resolve`. `cache` None: nothing is stored. Sizes are in bytes after
    decompression, times in seconds. Proxies of the environment are not used, since addresses could not be checked.
    """

    def __init__(
        self,
        cache: Path | None = None,
        *,
        transport: httpx.BaseTransport | None = None,
        resolve: Resolve = resolve_host,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        max_age_s: float = 7 * 86_400.0,
        max_bytes: int = 4 << 20,
        total_s: float = 20.0,
        attempts: int = 3,
    ) -> None:
        self.cache = ResponseCache(cache, max_age_s)
        self._client = httpx.Client(
            transport=transport or PinnedTransport(),
            timeout=httpx.Timeout(8.0, connect=4.0),
            follow_redirects=False,
            trust_env=False,
            headers={"User-Agent": AGENT, "Accept-Encoding": "gzip"},
        )
        self._resolve, self._sleep, self._clock = resolve, sleep, clock
        self._max_bytes, self._total_s, self._attempts = max_bytes, total_s, attempts
        self._last: dict[str, float] = {}
        self._failures, self._answered, self._failed_at = 0, False, 0.0

    def get(
        self,
        url: str,
        params: Mapping[str, str | int] | None = None,
        *,
        accept: tuple[str, ...] = JSON,
        secret: Secret | None = None,
        allowed: Callable[[str], bool] = lambda url: True,
    ) -> Page:
        """Fetch an address, from the cache if it was fetched in the last days.

        `allowed` is checked for every address, redirects included. Raises Refused, NoNetwork, and UnusableResponse
        for a response that is an error, too large, too slow or of a type that is not accepted.
        """
        parse_address(url)
        whole = str(httpx.URL(url, params={**httpx.URL(url).params, **params})) if params else url
        return self._fetch(_Request("GET", whole, accept, None, secret, allowed))

    def post(self, url: str, body: Mapping[str, Any], *, secret: Secret | None = None) -> Page:
        """Send a JSON query that changes nothing on the server, so that it may be cached. Raises as `get`."""
        return self._fetch(_Request("POST", url, JSON, dict(body), secret))

    def check_reachable(self, host: str) -> None:
        """Raise NoNetwork if there is no network, or if the host has no address."""
        self._address(f"https://{host}/")

    def connection_failed(self, host: str) -> NoNetwork:
        """Count a failed connection; returns the error to raise."""
        self._failures += 1
        self._failed_at = self._clock()
        if self._is_offline():
            return NoNetwork(_OFFLINE)
        if self._answered:
            return NoNetwork(f"{host} could not be reached: it is down or does not exist")
        return NoNetwork(f"no network: {host} could not be reached")

    def _is_offline(self) -> bool:
        # Without any response so far two failures are enough; else they may come from two hosts that are down.
        return self._failures >= (4 if self._answered else 2)

    def _address(self, url: str) -> str:
        """The IP address to connect to. Raises Refused and NoNetwork."""
        parse_address(url)
        if self._is_offline() and self._clock() - self._failed_at < _RETRY_NETWORK_S:
            raise NoNetwork(_OFFLINE)
        try:
            return public_address(url, self._resolve)
        except NoNetwork:
            raise self.connection_failed(host_of(url)) from None

    def _fetch(self, request: _Request) -> Page:
        cached = _cached_page(self.cache.get(request.key))
        if (
            cached
            and cached.content_type in request.accept
            and all(map(request.allowed, (request.url, cached.url)))
        ):
            return cached
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_TransientFailure),
            stop=tenacity.stop_after_attempt(self._attempts),
            wait=_pause,
            sleep=self._sleep,
            reraise=True,
        )
        try:
            page = retrying(self._follow, request)
        except _TransientFailure as error:
            later = f", asks to wait {error.wait_s:.0f} s" if error.wait_s else ""
            message = f"{host_of(request.url)} answers {error.status}{later}: continue without it"
            raise UnusableResponse(message, error.status) from None
        self.cache.put(request.key, asdict(page))
        return page

    def _follow(self, request: _Request) -> Page:
        """One attempt. Redirects are followed; each address is checked like the first."""
        url = request.url
        ends = self._clock() + self._total_s
        for _ in range(_REDIRECTS + 1):
            if not request.allowed(url):
                raise Refused(f"redirected to {host_of(url)}, which may not be opened here")
            outcome = self._send(request, url, ends)
            if isinstance(outcome, Page):
                return outcome
            if request.method != "GET":
                raise UnusableResponse(f"{host_of(url)} redirects a POST: not followed")
            url = outcome
        raise UnusableResponse(f"{host_of(url)}: more than {_REDIRECTS} redirects")

    def _send(self, wanted: _Request, url: str, ends: float) -> Page | str:
        """The page, or the address of a redirect."""
        address, host = self._address(url), host_of(url)
        self._wait_for_rate_limit(host)
        secret = wanted.secret.headers(url) if wanted.secret else {}
        request = self._client.build_request(
            wanted.method,
            url,
            json=wanted.body,
            headers={"Accept": ", ".join(wanted.accept), **secret},
            extensions={"address": address},
        )
        if request.url.raw_host.decode("ascii").rstrip(".") != host:  # httpx read another host
            raise Refused("write the host in ASCII letters (an international name as xn--...)")
        left = max(ends - self._clock(), 0.1)
        try:
            response = call_with_timeout(lambda: self._client.send(request, stream=True), left)
        except (httpx.ConnectError, httpx.ConnectTimeout):
            raise self.connection_failed(host) from None
        except TimeoutError:
            raise UnusableResponse(f"{host}: no response in {self._total_s:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise UnusableResponse(f"{host}: no usable response ({type(error).__name__})") from None
        self._failures, self._answered = 0, True
        try:
            if response.is_redirect:
                return _location(url, response.headers["location"])
            _check(response, host, wanted.accept)
            return self._read(response, url, ends)
        except httpx.DecodingError:
            raise UnusableResponse(f"{host}: the response is compressed incorrectly") from None
        except httpx.HTTPError as error:
            raise UnusableResponse(f"{host}: the response broke off ({type(error).__name__})") from None
        finally:
            response.close()

    def _wait_for_rate_limit(self, host: str) -> None:
        pause = _PAUSE_S.get(host, 0.0)
        wait = self._last.get(host, float("-inf")) + pause - self._clock()
        if wait > 0:
            self._sleep(wait)
        self._last[host] = self._clock()

    def _read(self, response: httpx.Response, url: str, ends: float) -> Page:
        host, body = host_of(url), bytearray()
        # A part is at most 1000 times as large as the 64 KiB of a read: gzip is applied once (see `_check`).
        for part in response.iter_bytes():
            body += part
            if len(body) > self._max_bytes:
                raise UnusableResponse(f"{host}: the response is larger than {self._max_bytes / 2**20:g} MiB")
            if self._clock() > ends:
                raise UnusableResponse(f"{host}: the response took longer than {self._total_s:g} s")
        try:
            text = body.decode(response.charset_encoding or "utf-8", errors="replace")
        except LookupError:
            text = body.decode("utf-8", errors="replace")
        return Page(url, _media_type(response), text)


def open_http() -> Http:
    """The client of a session, with its cache in `TREX_HOME`."""
    return Http(home() / "cache" / "web")


def _location(url: str, target: str) -> str:
    try:
        return urljoin(url, target)
    except ValueError:
        raise Refused(f"{host_of(url)} redirects to an invalid address") from None


def _check(response: httpx.Response, host: str, accept: tuple[str, ...]) -> None:
    """Raises _TransientFailure if a retry may help, UnusableResponse for any other response that is not read."""
    status, kind = response.status_code, _media_type(response)
    if status in _TRANSIENT:
        raise _TransientFailure(status, retry_after(response.headers.get("retry-after")))
    if status != 200:
        raise UnusableResponse(f"{host} answers {status}", status)
    if kind not in accept:
        raise UnusableResponse(f"{host} sends {kind[:60] or 'no type'}: only {', '.join(accept)} is read")
    if response.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity", "gzip"):
        raise UnusableResponse(f"{host}: the response has an unexpected content encoding")


def _media_type(response: httpx.Response) -> str:
    declared: str = response.headers.get("content-type", "").split(";")[0].strip().lower()
    return declared if re.fullmatch(r"[a-z0-9.+/-]+", declared) else ""


def _cached_page(value: Any) -> Page | None:
    """A page from the cache's fields; None for anything else."""
    try:
        return _PAGE.validate_python(value)
    except ValidationError:
        return None


def _pause(state: tenacity.RetryCallState) -> float:
    """Seconds that the server asks for; else 1, 2, 4, 8. Raises the failure if the wait would be too long."""
    error = state.outcome.exception() if state.outcome else None
    asked = error.wait_s if isinstance(error, _TransientFailure) else None
    if asked is None:
        return min(2.0 ** (state.attempt_number - 1), 8.0)
    if error is not None and not asked <= _MAX_WAIT_S:
        raise error
    return asked
