"""The one way to the web: bounded in size and time, to public addresses only, cached, polite, and with a memory
for whether there is a network at all.

Secrets go to the one host they belong to, over https; a redirect elsewhere does not carry them, and no file, key
of the cache or error holds them. Errors tell the host and the status, never what a server wrote.
"""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urljoin

from ...errors import InputError, TrexError
from ...home import home
from .addresses import NoNetwork, Refused, Resolve, bounded, host_of, look_up, parse, public_address
from .response_cache import Answers

try:
    import httpx
    import tenacity
except ImportError:
    raise InputError("tools of the web need the extra `llm`: pip install 'trex-finetune[llm]'") from None

JSON = ("application/json",)
TEXT = ("text/html", "application/xhtml+xml", "text/plain", "text/markdown", "application/json")
FEED = ("application/atom+xml", "application/xml", "text/xml")

AGENT = "trex-finetune/0.1 (research agent; reads public pages and metadata at a person's pace)"

_REDIRECTS = 5
_PASSING = {429, 500, 502, 503, 504}
_LONGEST_WAIT_S = 20.0  # what a server may ask for before a new try; longer is said to the agent
_PAUSE_S = {
    "export.arxiv.org": 3.0,
    "api.semanticscholar.org": 1.0,
}  # between requests, as these hosts ask for
_RETRY_NETWORK_S = 300.0
_OFFLINE = "no network: use what works without one, e.g. search_literature"


@dataclass(frozen=True)
class Secret:
    """A key for one host, sent in one header over https and shown nowhere."""

    host: str
    header: str
    value: str = field(repr=False)

    def headers(self, url: str) -> dict[str, str]:
        """The header, if the address is of the secret's own host."""
        own = host_of(url) == self.host and url.startswith("https://")
        return {self.header: self.value} if own else {}


@dataclass(frozen=True)
class Page:
    """What came back: from where (after redirects), of which type, as text."""

    url: str
    content_type: str
    text: str

    def json(self) -> Any:
        """The text as JSON. Raises TrexError if it is none."""
        try:
            return json.loads(self.text)
        except (ValueError, RecursionError):
            raise TrexError(f"{host_of(self.url)}: the answer is not JSON") from None


@dataclass(frozen=True)
class _Question:
    """What is asked of the web; `allowed` judges every address on the way."""

    method: Literal["GET", "POST"]
    url: str
    accept: tuple[str, ...]
    body: dict[str, Any] | None = None
    secret: Secret | None = None
    allowed: Callable[[str], bool] = lambda url: True

    @property
    def key(self) -> list[Any]:
        """Under which its answer is kept: without the secret."""
        return [self.method, self.url, self.body]


class Unfit(TrexError):
    """A server's answer that can't be used; `status` is its HTTP status."""

    def __init__(self, message: str, status: int = 200) -> None:
        super().__init__(message)
        self.status = status


class _Passing(Exception):
    """A failure that may be over soon; `wait_s` is what the server asked for."""

    def __init__(self, status: int, wait_s: float | None) -> None:
        self.status, self.wait_s = status, wait_s


class Pinned(httpx.HTTPTransport):
    """Connects to the address that was judged, under the host's own name for TLS and the Host header."""

    def __init__(self) -> None:
        # A pool knows connections by address: kept, one would serve the next host there under the first's certificate.
        super().__init__(retries=0, limits=httpx.Limits(max_keepalive_connections=0))

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send it. The address comes with the request."""
        request.extensions["sni_hostname"] = request.url.raw_host.decode("ascii")
        request.url = request.url.copy_with(host=request.extensions["address"])
        return super().handle_request(request)


class Http:
    """A client for one session of research.

    `transport` and `resolve` may be stand-ins (httpx.MockTransport, a function), `cache` None keeps nothing; sizes
    are in bytes after unpacking, times in seconds. Proxies of the environment are not used: behind one, names
    could not be judged.
    """

    def __init__(
        self,
        cache: Path | None = None,
        *,
        transport: httpx.BaseTransport | None = None,
        resolve: Resolve = look_up,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        max_age_s: float = 7 * 86_400.0,
        most_bytes: int = 4 << 20,
        total_s: float = 20.0,
        attempts: int = 3,
    ) -> None:
        self.answers = Answers(cache, max_age_s)
        self._client = httpx.Client(
            transport=transport or Pinned(),
            timeout=httpx.Timeout(8.0, connect=4.0),
            follow_redirects=False,
            trust_env=False,
            headers={"User-Agent": AGENT, "Accept-Encoding": "gzip"},
        )
        self._resolve, self._sleep, self._clock = resolve, sleep, clock
        self._most, self._total, self._attempts = most_bytes, total_s, attempts
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
        """Fetch an address, from the cache if it was fetched lately.

        `allowed` is asked about every address on the way, redirects too. Raises Refused, NoNetwork, and Unfit for
        an answer that is an error, too large, too slow or of a type that is not accepted.
        """
        parse(url)
        whole = str(httpx.URL(url, params={**httpx.URL(url).params, **params})) if params else url
        return self._asked(_Question("GET", whole, accept, None, secret, allowed))

    def post(self, url: str, body: Mapping[str, Any], *, secret: Secret | None = None) -> Page:
        """Send JSON that asks for something (and changes nothing, so that it may be cached). Raises as `get`."""
        return self._asked(_Question("POST", url, JSON, dict(body), secret))

    def reach(self, host: str) -> None:
        """Raise NoNetwork at once if there is no network, or if the host has no address."""
        self._address(f"https://{host}/")

    def failed(self, host: str) -> NoNetwork:
        """Count a connection that could not be made; the error to raise."""
        self._failures += 1
        self._failed_at = self._clock()
        if self._is_offline():
            return NoNetwork(_OFFLINE)
        if self._answered:
            return NoNetwork(f"{host} could not be reached: it is down, or there is none of this name")
        return NoNetwork(f"no network: {host} could not be reached")

    def _is_offline(self) -> bool:
        # Where nothing ever answered, two failures tell enough; else they may be of two dead hosts.
        return self._failures >= (4 if self._answered else 2)

    def _address(self, url: str) -> str:
        """Where to connect. Raises Refused and NoNetwork."""
        parse(url)
        if self._is_offline() and self._clock() - self._failed_at < _RETRY_NETWORK_S:
            raise NoNetwork(_OFFLINE)
        try:
            return public_address(url, self._resolve)
        except NoNetwork:
            raise self.failed(host_of(url)) from None

    def _asked(self, question: _Question) -> Page:
        kept = _kept(self.answers.get(question.key))
        if (
            kept
            and kept.content_type in question.accept
            and all(map(question.allowed, (question.url, kept.url)))
        ):
            return kept
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_Passing),
            stop=tenacity.stop_after_attempt(self._attempts),
            wait=_pause,
            sleep=self._sleep,
            reraise=True,
        )
        try:
            page = retrying(self._follow, question)
        except _Passing as error:
            later = f", asks to wait {error.wait_s:.0f} s" if error.wait_s else ""
            host = host_of(question.url)
            raise Unfit(f"{host} answers {error.status}{later}: go on without it", error.status) from None
        self.answers.keep(question.key, asdict(page))
        return page

    def _follow(self, question: _Question) -> Page:
        """One try: along redirects, each judged like the first address."""
        url = question.url
        ends = self._clock() + self._total
        for _ in range(_REDIRECTS + 1):
            if not question.allowed(url):
                raise Refused(f"the way leads on to {host_of(url)}, which is not open here")
            outcome = self._once(question, url, ends)
            if isinstance(outcome, Page):
                return outcome
            if question.method != "GET":
                raise Unfit(f"{host_of(url)} sends elsewhere what was posted to it: not followed")
            url = outcome
        raise Unfit(f"{host_of(url)}: more than {_REDIRECTS} redirects")

    def _once(self, question: _Question, url: str, ends: float) -> Page | str:
        """The page, or the address a redirect leads to."""
        address, host = self._address(url), host_of(url)
        self._take_turn(host)
        secret = question.secret.headers(url) if question.secret else {}
        request = self._client.build_request(
            question.method,
            url,
            json=question.body,
            headers={"Accept": ", ".join(question.accept), **secret},
            extensions={"address": address},
        )
        if request.url.raw_host.decode("ascii").rstrip(".") != host:  # two readings of one address
            raise Refused("write the address's host in plain letters (an international name as xn--...)")
        try:
            response = bounded(
                lambda: self._client.send(request, stream=True), max(ends - self._clock(), 0.1)
            )
        except (httpx.ConnectError, httpx.ConnectTimeout):
            raise self.failed(host) from None
        except TimeoutError:
            raise Unfit(f"{host}: no answer in {self._total:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Unfit(f"{host}: no usable answer ({type(error).__name__})") from None
        self._failures, self._answered = 0, True
        try:
            if response.is_redirect:
                return _location(url, response.headers["location"])
            _check(response, host, question.accept)
            return self._read(response, url, ends)
        except httpx.HTTPError as error:
            raise Unfit(f"{host}: the answer broke off ({type(error).__name__})") from None
        finally:
            response.close()

    def _take_turn(self, host: str) -> None:
        pause = _PAUSE_S.get(host, 0.0)
        wait = self._last.get(host, float("-inf")) + pause - self._clock()
        if wait > 0:
            self._sleep(wait)
        self._last[host] = self._clock()

    def _read(self, response: httpx.Response, url: str, ends: float) -> Page:
        host = host_of(url)
        parts, size = [], 0
        for part in _unpacked(response, host, self._most + 1):
            size += len(part)
            if size > self._most:
                raise Unfit(f"{host}: the answer is larger than {self._most / (1 << 20):g} MiB")
            if self._clock() > ends:
                raise Unfit(f"{host}: the answer took longer than {self._total:g} s")
            parts.append(part)
        try:
            text = b"".join(parts).decode(response.charset_encoding or "utf-8", errors="replace")
        except LookupError:
            text = b"".join(parts).decode("utf-8", errors="replace")
        return Page(url, _media_type(response), text)


def open_http() -> Http:
    """The client of a session, with its cache in `TREX_HOME`."""
    return Http(home() / "cache" / "web")


def _location(url: str, target: str) -> str:
    try:
        return urljoin(url, target)
    except ValueError:
        raise Refused(f"{host_of(url)} leads on to what is no address") from None


def _check(response: httpx.Response, host: str, accept: tuple[str, ...]) -> None:
    """Raises _Passing for a failure that may pass, Unfit for another one or a type that is not accepted."""
    status = response.status_code
    if status in _PASSING:
        raise _Passing(status, _retry_after(response.headers.get("retry-after")))
    if status != 200:
        raise Unfit(f"{host} answers {status}", status)
    if _media_type(response) not in accept:
        raise Unfit(
            f"{host} sends {_media_type(response)[:60] or 'no type'}: only {', '.join(accept)} is read"
        )


def _media_type(response: httpx.Response) -> str:
    declared: str = response.headers.get("content-type", "")
    name = declared.split(";")[0].strip().lower()
    return name if name.replace("/", "").replace("+", "").replace("-", "").replace(".", "").isalnum() else ""


def _kept(value: Any) -> Page | None:
    """A page as it was kept; None for anything else."""
    fields = ("url", "content_type", "text")
    if isinstance(value, dict) and all(isinstance(value.get(name), str) for name in fields):
        return Page(*(value[name] for name in fields))
    return None


def _retry_after(value: str | None) -> float | None:
    """Seconds, from a number of them or a date (RFC 9110, 10.2.3)."""
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


def _pause(state: tenacity.RetryCallState) -> float:
    """What the server asked for; else 1 s, 2 s, ... Raises the failure if the wait would be too long."""
    error = state.outcome.exception() if state.outcome else None
    asked = error.wait_s if isinstance(error, _Passing) else None
    if error is not None and asked is not None and not asked <= _LONGEST_WAIT_S:
        raise error
    return asked if asked is not None else float(min(2 ** (state.attempt_number - 1), 8))


def _unpacked(response: httpx.Response, host: str, most: int) -> Iterator[bytes]:
    """The body in parts, none larger than `most`: a small archive can unpack to more than a memory holds."""
    if response.is_stream_consumed:  # a stand-in that was built whole
        yield response.content
        return
    coding = response.headers.get("content-encoding", "identity").strip().lower()
    if coding in ("identity", ""):
        yield from response.iter_raw()
    elif coding in ("gzip", "x-gzip"):
        unpack = zlib.decompressobj(wbits=31)
        try:
            for part in response.iter_raw():
                yield unpack.decompress(part, most)
                if unpack.unconsumed_tail:  # there is more in it than may be read
                    yield b"\0" * most
        except zlib.error:
            raise Unfit(f"{host}: the answer is packed wrongly") from None
    else:
        raise Unfit(f"{host}: the answer is packed in a way that was not asked for")
