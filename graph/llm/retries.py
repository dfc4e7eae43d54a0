"""Classifies errors of model calls and retries them, in the same way for the clients of all providers."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt
from tenacity.wait import wait_random_exponential

from ...tools.retry_after import retry_after

MAX_WAIT = 120.0
"""Seconds. If a server asks for a longer wait, the call fails."""

TRANSIENT = frozenset({408, 409, 425, 429})
"""HTTP statuses below 500 that are worth a retry."""

# Names of exception classes: clients use different HTTP libraries, whose classes have the same names.
_NEVER_SENT = {"ConnectError", "ConnectTimeout", "PoolTimeout"}
_NEVER_SENT |= {"UnsupportedProtocol", "ConnectionRefusedError"}
_TIMEOUT = {"TimeoutException", "TimeoutError", "Timeout"}
_DISCONNECTED = {"TransportError", "ConnectionError"}
_QUOTA = re.compile(r"insufficient_quota|billing|credit balance|payment", re.IGNORECASE)
_CONTEXT = re.compile(
    r"context[ _]?(length|window|size)|maximum context|too many tokens|prompt is too long|exceed\w* the (max\w* )?"
    r"(input|context)|input is too long|exceed_context",
    re.IGNORECASE,
)
_FORMAT = re.compile(
    r"\btools?\b|tool[_ ](use|choice|call)|function[_ ]?call|response_format|json[_ ]?schema|structured|grammar",
    re.IGNORECASE,
)
_TOOL_CHOICE = re.compile(r"tool[_ ]?choice", re.IGNORECASE)

Result = TypeVar("Result")


@dataclass(frozen=True)
class CallFault:
    """How a call failed. `status` is the HTTP status, None without a response; `text` is one line without API keys."""

    text: str
    status: int | None = None
    sent: bool = True
    wait: float | None = None
    """Seconds that the server asks to wait before a retry."""
    unsupported_format: bool = False
    """The client itself does not support the output mode."""

    @property
    def billed(self) -> bool:
        """Whether the call may have been billed: it was sent, and no error status came back."""
        return self.sent and self.status is None

    @property
    def retryable(self) -> bool:
        """Whether a retry may succeed."""
        if self.format_refused or (self.status == 429 and _QUOTA.search(self.text)):
            return False
        if self.wait is not None and self.wait > MAX_WAIT:
            return False
        return self.status is None or self.status in TRANSIENT or self.status >= 500

    @property
    def context_exceeded(self) -> bool:
        """Whether the request does not fit the model's context window."""
        return self.status is not None and 400 <= self.status < 500 and bool(_CONTEXT.search(self.text))

    @property
    def format_refused(self) -> bool:
        """Whether the server refuses the output mode (tools, JSON schema)."""
        refused = self.status in (400, 404, 405, 422, 500, 501) and not self.context_exceeded
        return self.unsupported_format or (refused and bool(_FORMAT.search(self.text)))

    @property
    def tool_choice_refused(self) -> bool:
        """Whether it refuses only forced tool calls."""
        return self.format_refused and bool(_TOOL_CHOICE.search(self.text))

    def __str__(self) -> str:
        return f"the server answered {self.status}: {self.text}" if self.status is not None else self.text


class CallFailed(Exception):
    """One attempt at a call failed. `mode` is its output mode."""

    def __init__(self, fault: CallFault, mode: str = "") -> None:
        super().__init__(str(fault))
        self.fault = fault
        self.mode = mode


def classify_error(error: BaseException, redact: Callable[[str], str], now: float | None = None) -> CallFault:
    """The fault behind a client's exception. All clients give an HTTP status or chain the HTTP library's exception."""
    chain = list(_causes(error))
    text = redact(_line(error))[:500]  # redact before cutting: a part of a key must not remain
    status = next((found for each in chain if (found := _status(each)) is not None), None)
    if status is not None and status >= 400:
        headers = [getattr(getattr(each, "response", None), "headers", None) or {} for each in chain]
        asked = next((found for each in headers if (found := each.get("retry-after"))), None)
        return CallFault(text, status, wait=retry_after(asked, now))
    kinds = {kind.__name__ for each in chain for kind in type(each).__mro__}
    if "NotImplementedError" in kinds:
        why = f"its LangChain class does not support this output mode ({text})"
        return CallFault(why, sent=False, unsupported_format=True)
    if kinds & _NEVER_SENT:
        return CallFault(f"the server cannot be reached ({text})", sent=False)
    if kinds & _TIMEOUT:
        return CallFault("no answer in time")
    if kinds & _DISCONNECTED:
        return CallFault(f"the connection broke ({text})")
    return CallFault(f"the answer cannot be read ({type(error).__name__}: {text})")


def with_retries(
    call: Callable[[], Result],
    tries: int,
    sleep: Callable[[float], None] = time.sleep,
) -> Result:
    """The result of `call`, with at most `tries` attempts while the fault is retryable.

    Waits as long as the server asks, or with exponential back-off and jitter from 1 second. Raises the last
    CallFailed.
    """
    back_off = wait_random_exponential(max=30.0)

    def wait(state: RetryCallState) -> float:
        asked = _fault(state).wait
        return asked if asked is not None else float(back_off(state))

    return Retrying(
        stop=stop_after_attempt(tries),
        wait=wait,
        retry=retry_if_exception(lambda error: isinstance(error, CallFailed) and error.fault.retryable),
        sleep=sleep,
        reraise=True,
    )(call)


def _fault(state: RetryCallState) -> CallFault:
    error = state.outcome.exception() if state.outcome else None
    return error.fault if isinstance(error, CallFailed) else CallFault("")


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    now: BaseException | None = error
    while now is not None and id(now) not in seen:
        yield now
        seen.add(id(now))
        now = now.__cause__ or now.__context__


def _status(error: BaseException) -> int | None:
    response = getattr(error, "response", None)
    for owner, name in ((error, "status_code"), (response, "status_code"), (error, "code")):
        found = getattr(owner, name, None)
        if isinstance(found, int) and 100 <= found < 600:
            return found
    return None


def _line(error: BaseException) -> str:
    """The message in one line and, where the provider gives one, its code."""
    text = " ".join(str(error)[:20_000].split()) or type(error).__name__
    code = getattr(error, "code", None)
    return f"{text} ({code})" if isinstance(code, str) and code not in text else text
