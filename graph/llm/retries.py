"""What went wrong with a call, and whether to try again: the same for the client of every provider."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt
from tenacity.wait import wait_random_exponential

LONGEST_WAIT = 120.0
"""Seconds. A server that asks for a longer wait is not waited for."""

TRANSIENT = frozenset({408, 409, 425, 429})
"""Error statuses below 500 that may pass."""

# Names of exception classes: clients bring HTTP libraries of their own, whose classes are alike.
_NEVER_SENT = {
    "ConnectError",
    "ConnectTimeout",
    "PoolTimeout",
    "UnsupportedProtocol",
    "ConnectionRefusedError",
}
_TIMEOUT = {"TimeoutException", "TimeoutError", "Timeout"}
_BROKEN = {"TransportError", "ConnectionError"}
_QUOTA = re.compile(r"insufficient_quota|billing|credit balance|payment", re.IGNORECASE)
_TOO_LONG = re.compile(
    r"context[ _]?(length|window|size)|maximum context|too many tokens|prompt is too long|exceed\w* the (max\w* )?"
    r"(input|context)|input is too long|exceed_context",
    re.IGNORECASE,
)
_FORM = re.compile(
    r"\btools?\b|tool[_ ](use|choice|call)|function[_ ]?call|response_format|json[_ ]?schema|structured|grammar",
    re.IGNORECASE,
)
_CHOICE = re.compile(r"tool[_ ]?choice", re.IGNORECASE)

Result = TypeVar("Result")


@dataclass(frozen=True)
class Fault:
    """How a call failed. `status` is the server's, None if it gave none; `text` one line, without keys."""

    text: str
    status: int | None = None
    sent: bool = True
    wait: float | None = None
    """Seconds that the server asks to wait."""
    unknown_form: bool = False
    """The client itself cannot ask in this way."""

    @property
    def billed(self) -> bool:
        """Whether the call may have to be paid for: it was sent, and no error status came back."""
        return self.sent and self.status is None

    @property
    def passes(self) -> bool:
        """Whether another try may succeed."""
        if self.form or (self.status == 429 and _QUOTA.search(self.text)):
            return False
        if self.wait is not None and self.wait > LONGEST_WAIT:
            return False
        return self.status is None or self.status in TRANSIENT or self.status >= 500

    @property
    def too_long(self) -> bool:
        """Whether the request does not fit the model's context window."""
        return self.status is not None and 400 <= self.status < 500 and bool(_TOO_LONG.search(self.text))

    @property
    def form(self) -> bool:
        """Whether the server refuses the way in which typed answers are asked for."""
        told = self.status in (400, 404, 405, 422, 500, 501) and not self.too_long
        return self.unknown_form or (told and bool(_FORM.search(self.text)))

    @property
    def choice(self) -> bool:
        """Whether it refuses only that a tool must be called."""
        return self.form and bool(_CHOICE.search(self.text))

    def __str__(self) -> str:
        return f"the server answered {self.status}: {self.text}" if self.status is not None else self.text


class CallFailed(Exception):
    """One try of a call that failed, asked in the output mode of that name."""

    def __init__(self, fault: Fault, mode: str = "") -> None:
        super().__init__(str(fault))
        self.fault = fault
        self.mode = mode


def fault_of(error: BaseException, redact: Callable[[str], str], now: datetime | None = None) -> Fault:
    """What an exception of a client means. Clients differ; all give a status, or pass on what HTTP raised."""
    chain = list(_causes(error))
    text = redact(_line(error))[:500]  # keys first: half a key is one too
    status = next((found for each in chain if (found := _status(each)) is not None), None)
    if status is not None and status >= 400:
        return Fault(text, status, wait=_retry_after(chain, now or datetime.now(UTC)))
    kinds = {kind.__name__ for each in chain for kind in type(each).__mro__}
    if "NotImplementedError" in kinds:
        return Fault(
            f"its LangChain class knows no such form of output ({text})", sent=False, unknown_form=True
        )
    if kinds & _NEVER_SENT:
        return Fault(f"the server cannot be reached ({text})", sent=False)
    if kinds & _TIMEOUT:
        return Fault("no answer in time")
    if kinds & _BROKEN:
        return Fault(f"the connection broke ({text})")
    return Fault(f"the answer cannot be read ({type(error).__name__}: {text})")


def attempts(
    call: Callable[[], Result],
    tries: int,
    sleep: Callable[[float], None] | None = None,
    first_wait: float = 1.0,
) -> Result:
    """The result of `call`, tried again while its fault may pass: after the wait the server asks for, or with
    exponential back-off and jitter from `first_wait` seconds. Raises the last CallFailed.
    """
    back_off = wait_random_exponential(multiplier=first_wait, max=30.0)

    def wait(state: RetryCallState) -> float:
        asked = _fault(state).wait
        return asked if asked is not None else float(back_off(state))

    return Retrying(
        stop=stop_after_attempt(tries),
        wait=wait,
        retry=retry_if_exception(lambda error: isinstance(error, CallFailed) and error.fault.passes),
        sleep=sleep or time.sleep,
        reraise=True,
    )(call)


def _fault(state: RetryCallState) -> Fault:
    error = state.outcome.exception() if state.outcome else None
    return error.fault if isinstance(error, CallFailed) else Fault("")


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    now: BaseException | None = error
    while now is not None and id(now) not in seen:
        yield now
        seen.add(id(now))
        now = now.__cause__ or now.__context__


def _status(error: BaseException) -> int | None:
    response = getattr(error, "response", None)
    for found in (
        getattr(error, "status_code", None),
        getattr(response, "status_code", None),
        getattr(error, "code", None),
    ):
        if isinstance(found, int) and 100 <= found < 600:
            return found
    return None


def _retry_after(chain: list[BaseException], now: datetime) -> float | None:
    """Seconds of Retry-After, which is a number or a date (RFC 9110, 10.2.3)."""
    for error in chain:
        headers = getattr(getattr(error, "response", None), "headers", None) or {}
        given = headers.get("retry-after")
        if given is None:
            continue
        try:
            return max(0.0, float(given))
        except ValueError:
            pass
        try:
            return max(0.0, (parsedate_to_datetime(given) - now).total_seconds())
        except (ValueError, TypeError):
            return None
    return None


def _line(error: BaseException) -> str:
    """Its words and, where the provider gives one, its code."""
    text = " ".join(str(error)[:20_000].split()) or type(error).__name__
    code = getattr(error, "code", None)
    return f"{text} ({code})" if isinstance(code, str) and code not in text else text
