"""Opens chat models by name through LangChain: answers of bounded length, no retries of the client, no streaming."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
from langchain_core.rate_limiters import InMemoryRateLimiter
from pydantic import ValidationError

from ...errors import InputError, explain
from ...keys import environment, keys_in_environment, redact
from .model_settings import ModelSettings
from .prices import Price, missing_price, price_of
from .protocol import Role
from .server_profile import LIMITS

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

NO_KEY = "no-key-needed"
"""Sent to an OpenAI-compatible server if there is no key: the client requires one."""

BYTES_PER_TOKEN = 64
"""Largest response body: this many bytes per token of the answer, plus a constant."""

_EXTRA = "needs the extra `llm`: pip install 'trex-finetune[llm]'"


@dataclass(frozen=True)
class OpenedModel:
    """A model that can be called. `name` is 'provider:model'; `pace` limits the requests per minute."""

    name: str
    client: BaseChatModel
    price: Price | None
    openai: bool
    """Whether the client uses OpenAI's API, so that a JSON schema can be put into the request body."""
    pace: InMemoryRateLimiter | None = None
    limits: tuple[str, ...] = LIMITS
    """Fields that bound the answer, at first."""


def model_name(settings: ModelSettings, role: Role) -> str:
    """'provider:model' of a role."""
    return (settings.executor or settings.researcher) if role == "executor" else settings.researcher


def check_models(settings: ModelSettings) -> None:
    """Check names, packages, keys, context window and prices of both models. Raises InputError."""
    if settings.max_tokens + 1024 > settings.context_tokens:
        raise InputError(
            f"max_tokens={settings.max_tokens} leaves less than 1024 of context_tokens={settings.context_tokens} "
            "for the request: lower it, or raise context_tokens if the model allows more"
        )
    for role in ("researcher", "executor"):
        open_model(settings, role)


def open_model(
    settings: ModelSettings, role: Role, transport: httpx.BaseTransport | None = None
) -> OpenedModel:
    """The model of a role. Nothing is sent. `transport` replaces the network in tests. Raises InputError."""
    name = model_name(settings, role)
    provider, colon, rest = name.partition(":")
    if not colon or not provider or not rest:
        raise InputError(f"model {name!r}: write PROVIDER:MODEL, such as openai:gpt-5-mini")
    url = _base_url(settings, provider)
    price = price_of(name, url)
    if price is None and settings.cost_budget_usd is not None:
        raise InputError(missing_price(name))
    given = _common(settings) | (_openai(settings, url, transport) if provider == "openai" else {})
    if provider != "openai" and settings.base_url:
        given["base_url"] = settings.base_url
    try:
        with keys_in_environment():
            client = _open_client(provider, rest, given)
    except InputError:
        raise
    except ImportError as error:
        raise InputError(f"model {name}: {_first_line(error)}") from error
    except ValidationError as error:
        raise InputError(f"model {name} cannot be opened: {redact(explain(error))}") from error
    except Exception as error:  # each provider raises its own errors, mostly for a missing key
        raise InputError(f"model {name} cannot be opened: {_first_line(error)}") from error
    _check_bounded(client, name, settings.max_tokens)
    pace = _pace(name, settings.requests_per_minute) if settings.requests_per_minute else None
    limits = LIMITS if provider == "openai" and not _is_official(url) else LIMITS[:1]
    return OpenedModel(name, client, price, provider == "openai", pace, limits)


def _open_client(provider: str, model: str, given: dict[str, Any]) -> BaseChatModel:
    try:
        from langchain.chat_models import init_chat_model

        if provider == "openai":
            from .openai_wire import OpenAIWire
    except ImportError as error:
        raise InputError(f"a chat model {_EXTRA}") from error
    if provider == "openai":
        return OpenAIWire(model=model, **given)
    client: BaseChatModel = init_chat_model(model, model_provider=provider, **given)
    return client


def _is_official(url: str | None) -> bool:
    return url is None or urlsplit(url).hostname == "api.openai.com"


def _common(settings: ModelSettings) -> dict[str, Any]:
    """Arguments for the class of every provider."""
    given: dict[str, Any] = {
        "max_tokens": settings.max_tokens,
        "timeout": settings.timeout_s,
        "max_retries": 0,  # each attempt is counted, paid and recorded
        "disable_streaming": True,  # a streamed answer may have no token count
        "cache": False,
    }
    if settings.temperature is not None:
        given["temperature"] = settings.temperature
    return given


def _openai(
    settings: ModelSettings, url: str | None, transport: httpx.BaseTransport | None
) -> dict[str, Any]:
    known = environment()
    given: dict[str, Any] = {"use_responses_api": False}
    official = _is_official(url)
    if official and not known.get("OPENAI_API_KEY"):
        raise InputError(
            "OPENAI_API_KEY is not set: put it into the environment or into a file .env here; "
            "for a server of your own give base_url"
        )
    if not official:
        given["base_url"] = url
        if not known.get("OPENAI_API_KEY"):
            given["api_key"] = NO_KEY
    bounds = _Bounds(BYTES_PER_TOKEN * settings.max_tokens + (1 << 20), settings.timeout_s)
    given["http_client"] = httpx.Client(
        transport=transport,
        verify=_trust(),
        event_hooks={"response": [bounds.bind]},
        timeout=settings.timeout_s,
        follow_redirects=True,
    )
    return given


def _base_url(settings: ModelSettings, provider: str) -> str | None:
    """URL of the server, None for the provider's own. Raises InputError."""
    url = settings.base_url
    if url is None and provider == "openai":
        known = environment()
        url = known.get("OPENAI_BASE_URL") or known.get("OPENAI_API_BASE") or None
    if url is None:
        return None
    parts = urlsplit(url)
    if parts.username or parts.password:
        raise InputError("base_url contains a user name or a password: use OPENAI_API_KEY instead")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError(f"base_url {url!r}: write an address such as http://localhost:8000/v1")
    return url


def _check_bounded(client: BaseChatModel, name: str, max_tokens: int) -> None:
    """Without a bound on the answer's length no budget can be kept. Raises InputError."""
    fields = ("max_tokens", "max_output_tokens", "max_completion_tokens", "max_tokens_to_sample")
    if max_tokens not in [getattr(client, field, None) for field in fields]:
        raise InputError(
            f"model {name}: its LangChain class has no max_tokens, so that no budget can be kept; most such servers "
            "also have an OpenAI-compatible API: use openai:MODEL with base_url"
        )


@cache
def _trust() -> ssl.SSLContext:
    """The certificates, read once."""
    return httpx.create_ssl_context()


@cache
def _pace(name: str, requests_per_minute: float) -> InMemoryRateLimiter:
    """One limiter per model in this process: its provider counts all its requests together."""
    return InMemoryRateLimiter(
        requests_per_second=requests_per_minute / 60, check_every_n_seconds=0.02, max_bucket_size=1
    )


def _first_line(error: Exception) -> str:
    lines = redact(str(error)[:5000]).strip().splitlines() or [type(error).__name__]
    return lines[0][:400]


@dataclass(frozen=True)
class _Bounds:
    """Limits of a whole response in bytes and seconds. httpx itself limits only each read."""

    size: int
    seconds: float

    def bind(self, response: httpx.Response) -> None:
        """Response hook of an httpx client, called before the body is read."""
        if isinstance(response.stream, httpx.SyncByteStream):
            response.stream = _BoundedStream(response.stream, self.size, time.monotonic() + self.seconds)


class _BoundedStream(httpx.SyncByteStream):
    def __init__(self, stream: httpx.SyncByteStream, size: int, deadline: float) -> None:
        self._stream = stream
        self._left = size
        self._deadline = deadline

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._stream:
            self._left -= len(chunk)
            if self._left < 0:
                raise httpx.RemoteProtocolError("the answer is far longer than max_tokens allows")
            if time.monotonic() > self._deadline:
                raise httpx.ReadTimeout("the answer took too long")
            yield chunk

    def close(self) -> None:
        self._stream.close()
