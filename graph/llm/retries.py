"""Classifies errors of model calls and retries them, in the same way for the clients of all providers."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception
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
_FIELD = re.compile(r"\bmax\w*tokens\b|input should be|extra inputs|tool_?choice", re.IGNORECASE)
_LENGTH = re.compile(
    r"context|token|prompt|\binputs?\b|length|sequence|messages|conversation|request|payload|n_ctx",
    re.IGNORECASE,
)
_INPUT = re.compile(
    r"context|prompt|\binputs?\b|sequence|messages|conversation|request|payload|n_ctx", re.IGNORECASE
)
_EXCESS = re.compile(
    r"exceed|longer|maximum|too (long|large|many|big)|limit|larger|greater than|more than|less than|at most|<=|≤"
    r"|must be (under|below|within|shorter|smaller|no more)|reduc|truncat|shorten|overflow|not fit|does ?n.t fit"
    r"|out of (range|bounds)|over the|capacity|only \d",
    re.IGNORECASE,
)
_FORMAT = re.compile(
    r"\btools?\b|tool[_ ](use|choice|call)|function[_ ]?call|response_format|json[_ ]?schema|structured|grammar",
    re.IGNORECASE,
)
_GENERATION = re.compile(
    r"failed_generation|tool_use_failed|fail\w* to (call|parse|generate|produce)|error (while )?parsing|unexpected end"
    r"|malformed|could not parse|cannot parse|(invalid|unparsable) (tool|function) call",
    re.IGNORECASE,
)
"""The model wrote what the server could not read: another attempt may be better."""
_ROLES = re.compile(r"\broles?\b", re.IGNORECASE)
_MIN_LENGTH = 256
"""Smaller numbers of an error are no lengths of prompts."""
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
    unreadable: bool = False
    """There was a response, but it cannot be read."""
    fields: tuple[str, ...] = ()
    """Names of the fields that were sent."""
    details: str = ""
    """The body of the response, which may name what was refused."""

    @property
    def words(self) -> str:
        """All that the server said."""
        return f"{self.text} {self.details}"

    @property
    def billed(self) -> bool:
        """Whether the call may have been billed: it was sent, and no error status came back."""
        return self.sent and self.status is None

    @property
    def retryable(self) -> bool:
        """Whether a retry may succeed."""
        if self.unsupported_format or (self.status == 429 and _QUOTA.search(self.words)):
            return False
        if self.context_exceeded or (self.wait is not None and self.wait > MAX_WAIT):
            return False
        if self.status is None or self.status in TRANSIENT or self.badly_generated:
            return True
        return self.status >= 500 and self.status != 501

    @property
    def badly_generated(self) -> bool:
        """Whether it is the model's output that the server refuses."""
        return self.status in (400, 422, 500, 502) and bool(_GENERATION.search(self.words))

    @property
    def tries(self) -> int:
        """Attempts that such a fault is worth; what was not read may have been billed."""
        if self.unreadable:
            return 2
        return 3 if self.format_refused else 10

    @property
    def context_exceeded(self) -> bool:
        """Whether the request does not fit the model's context window.

        Known by the status 413, or by a length with a word of excess or with two numbers.
        """
        if self.status == 413:
            return True
        if self.status not in (400, 422, 429, 500) or (self.status == 429 and "too large" not in self.words):
            return False
        text = _FIELD.sub("", self.words)
        limit = text != self.words and not _INPUT.search(text)  # it is about the answer's length
        if limit or not _LENGTH.search(text):
            return False
        lengths = {each for each in numbers_in(text) if each >= _MIN_LENGTH}
        excess = bool(_EXCESS.search(text))
        return (excess and bool(lengths)) if self.status == 500 else excess or len(lengths) > 1

    @property
    def names_limit(self) -> bool:
        """Whether the length of the answer is part of what is too long."""
        return bool(re.search(r"max\w*[ _]tokens|completion|output", self.words))

    @property
    def refused(self) -> bool:
        """Whether another request could be accepted: it was not refused for its sender, its rate or the server."""
        if self.status is None or self.status in (401, 402, 403, *TRANSIENT):
            return False
        return (
            self.status < 500 or self.status == 501 or bool(_ROLES.search(self.words)) or self.format_refused
        )

    @property
    def unexplained(self) -> bool:
        """Whether the request was refused as such, for whatever reason."""
        return self.status in (400, 422)

    @property
    def format_refused(self) -> bool:
        """Whether the server refuses the output mode (tools, JSON schema)."""
        refused = self.status in (400, 404, 405, 422, 500, 501) and not self.context_exceeded
        return self.unsupported_format or (refused and bool(_FORMAT.search(self.words)))

    @property
    def tool_choice_refused(self) -> bool:
        """Whether it refuses only forced tool calls."""
        return self.format_refused and bool(_TOOL_CHOICE.search(self.words))

    def __str__(self) -> str:
        return f"the server answered {self.status}: {self.text}" if self.status is not None else self.text


class CallFailed(Exception):
    """One attempt at a call failed. `length` is the request's, in bytes."""

    def __init__(self, fault: CallFault, length: int = 0) -> None:
        super().__init__(str(fault))
        self.fault = fault
        self.length = length


def classify_error(error: BaseException, redact: Callable[[str], str], now: float | None = None) -> CallFault:
    """The fault behind a client's exception. All clients give an HTTP status or chain the HTTP library's exception."""
    chain = list(_causes(error))
    text = redact(_line(error))[:500]  # redact before cutting: a part of a key must not remain
    status = next((found for each in chain if (found := _status(each)) is not None), None)
    if status is not None and status >= 400:
        headers = [getattr(getattr(each, "response", None), "headers", None) or {} for each in chain]
        asked = next((found for each in headers if (found := each.get("retry-after"))), None)
        sent: tuple[str, ...] = next(filter(None, (getattr(each, "sent_fields", None) for each in chain)), ())
        bodies = (getattr(getattr(each, "response", None), "text", "") for each in chain)
        details = redact(_one_line(next(filter(None, bodies), "")))[:2000]
        if re.fullmatch(r"(Error code: \d+)?", text):
            text = f"{text} {details}".strip()[:500]
        return CallFault(text, status, wait=retry_after(asked, now), fields=sent, details=details)
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
    return CallFault(f"the answer cannot be read ({type(error).__name__}: {text})", unreadable=True)


def with_retries(
    call: Callable[[], Result],
    tries: int,
    sleep: Callable[[float], None] = time.sleep,
    may_wait: Callable[[float], bool] = lambda seconds: True,
) -> Result:
    """The result of `call`, with at most `tries` attempts while the fault is retryable.

    Waits as long as the server asks, or with exponential back-off and jitter from 1 second. A wait that `may_wait`
    refuses ends the attempts. Raises the last CallFailed.
    """
    back_off = wait_random_exponential(max=30.0)

    def wait(state: RetryCallState) -> float:
        asked = _fault(state).wait
        return asked if asked is not None else float(back_off(state))

    return Retrying(
        stop=lambda state: (
            state.attempt_number >= min(tries, _fault(state).tries) or not may_wait(state.upcoming_sleep)
        ),
        wait=wait,
        retry=retry_if_exception(lambda error: isinstance(error, CallFailed) and error.fault.retryable),
        sleep=sleep,
        reraise=True,
    )(call)


def numbers_in(text: str) -> list[int]:
    """The whole numbers in an error, without its status."""
    plain = re.sub(r"(?<=\d),(?=\d{3}\b)", "", re.sub(r"Error code: \d+", "", text))
    return [int(each) for each in re.findall(r"(?<![\w.])\d{1,9}(?![\w.]*\w)", plain)]


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


def _one_line(text: object) -> str:
    return " ".join(str(text)[:20_000].split())


def _line(error: BaseException) -> str:
    """The message in one line and, where the provider gives one, its code."""
    text = _one_line(error) or type(error).__name__
    code = getattr(error, "code", None)
    return f"{text} ({code})" if isinstance(code, str) and code not in text else text
