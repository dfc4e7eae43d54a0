"""The ledger of model calls: a call is reserved against the budgets before it is made, and settled when it has ended.

Each event is a line of `calls.jsonl`, flushed at once, so that a killed process leaves a record of what it may have
spent. A call that was never settled counts as having used its whole reservation. Answers are replayed from the
record: the same request is not paid for twice.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ...files import append_line, read_lines
from ..run.migration import migrated
from .protocol import CallRecord, ModelBudgetSpent, Role
from .usage import Usage

Status = Literal["answered", "failed", "unknown"]


@dataclass(frozen=True)
class CallRequest:
    """One call: role, purpose, model and output mode. Equal requests have the same `key`."""

    key: str
    role: Role
    purpose: str
    model: str
    mode: str
    messages: tuple[dict[str, str], ...] = ()


@dataclass(frozen=True)
class Reservation:
    """A call that may be made. `most` is the upper bound on its usage; `began` is a monotonic clock's time."""

    id: str
    request: CallRequest
    most: Usage
    began: float


@dataclass(frozen=True)
class RecordedAnswer:
    """An answer in the record: the fields of the model's message, and the output mode of the call."""

    message: dict[str, Any]
    mode: str


class CallLedger:
    """The calls of one run in one process. Threads may share it.

    `token_budget` (read and written) and `cost_budget_usd` (US dollars) bound the run, over all its processes;
    None: no bound. `on_call` is called after each call.
    """

    def __init__(
        self,
        path: Path,
        token_budget: int | None = None,
        cost_budget_usd: float | None = None,
        on_call: Callable[[CallRecord], None] | None = None,
    ) -> None:
        self._path, self._on_call = path, on_call
        self._token_budget, self._cost_budget_usd = token_budget, cost_budget_usd
        self._lock = threading.RLock()
        self._open: dict[str, Reservation] = {}
        self._answers: dict[str, RecordedAnswer] = {}
        self._profiles: dict[str, dict[str, Any]] = {}
        self._spent = Usage()
        self._spent_by: dict[str, Usage] = {}
        self._calls = 0
        self._recover()

    @property
    def spent(self) -> Usage:
        """The usage of the calls that have ended."""
        with self._lock:
            return self._spent

    def spent_by(self, role: Role) -> Usage:
        """The usage of a role's calls that have ended."""
        with self._lock:
            return self._spent_by.get(role, Usage())

    def affords(self, most: Usage) -> bool:
        """Whether the budgets have that much left, beside what is reserved."""
        with self._lock:
            try:
                self._check(most, Usage())
            except ModelBudgetSpent:
                return False
        return True

    @property
    def answered(self) -> bool:
        """Whether any call of the run was answered."""
        return bool(self._answers)

    def replay(self, key: str) -> RecordedAnswer | None:
        """The recorded answer to an equal request of this or an earlier process, None if there is none."""
        with self._lock:
            return self._answers.get(key)

    def profile(self, role: Role) -> dict[str, Any] | None:
        """What a role's server was found to accept, in this or an earlier process; None if nothing was found."""
        with self._lock:
            return self._profiles.get(role)

    def change_profile(self, role: Role, profile: Mapping[str, Any], why: str) -> None:
        """Record what a role's server was found to accept, and why."""
        with self._lock:
            self._profiles[role] = dict(profile)
            self._write({"event": "mode", "role": role, **profile, "why": why})

    def reserve(self, request: CallRequest, most: Usage, kept: Usage | None = None) -> Reservation:
        """Reserve `most` for a call. Raises ModelBudgetSpent if that, and `kept` besides, is not left."""
        with self._lock:
            self._check(most, kept or Usage())
            self._calls += 1
            reservation = Reservation(f"c{self._calls:05d}", request, most, time.monotonic())
            line = {"event": "reserved", "id": reservation.id, "at": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
            self._write(line | asdict(request) | _usage_fields(most))
            self._open[reservation.id] = reservation
            return reservation

    def settle(
        self,
        reservation: Reservation,
        status: Status,
        usage: Usage,
        answer: Mapping[str, Any],
        message: dict[str, Any] | None = None,
    ) -> CallRecord:
        """Record the end and the usage of a call. `message` can be replayed; without it the call is made again."""
        usage = replace(usage, seconds=round(time.monotonic() - reservation.began, 3))
        with self._lock:
            del self._open[reservation.id]
            line = {"event": "settled", "id": reservation.id, "status": status, **_usage_fields(usage)}
            line |= {"seconds": usage.seconds, "answer": dict(answer)}
            if message is not None:
                line["message"] = message
                self._answers[reservation.request.key] = RecordedAnswer(message, reservation.request.mode)
            self._count(reservation.request.role, usage)
            self._write(line)
        record = _record(reservation.id, asdict(reservation.request), line)
        if self._on_call is not None:
            self._on_call(record)
        return record

    def _check(self, most: Usage, kept: Usage) -> None:
        taken = sum((each.most for each in self._open.values()), self._spent)
        needed = taken + most + kept
        if self._token_budget is not None and needed.tokens > self._token_budget:
            plan = f", and {kept.tokens:,} are kept for a plan" if kept.tokens else ""
            raise ModelBudgetSpent(
                f"{taken.tokens:,} of {self._token_budget:,} tokens are spent or reserved, and the next call may "
                f"take {most.tokens:,}{plan}: it was not made"
            )
        if self._cost_budget_usd is not None and needed.cost_usd > self._cost_budget_usd:
            plan = f", and ${kept.cost_usd:.4f} are kept for a plan" if kept.cost_usd else ""
            raise ModelBudgetSpent(
                f"${taken.cost_usd:.4f} of ${self._cost_budget_usd:.4f} are spent or reserved, and the next call "
                f"may cost ${most.cost_usd:.4f}{plan}: it was not made"
            )

    def _count(self, role: str, usage: Usage) -> None:
        self._spent += usage
        self._spent_by[role] = self._spent_by.get(role, Usage()) + usage

    def _write(self, line: Mapping[str, Any]) -> None:
        append_line(self._path, json.dumps(line, ensure_ascii=False, separators=(",", ":")))

    def _recover(self) -> None:
        """Read the record of earlier processes of this run; settle the calls that they left open."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        open_calls: dict[str, dict[str, Any]] = {}
        for line in _lines(self._path):
            if line["event"] == "reserved":
                self._calls = max(self._calls, int(line["id"][1:]))
                open_calls[line["id"]] = line
            elif line["event"] == "mode":
                self._profiles[line["role"]] = line
            elif reserved := open_calls.pop(line["id"], None):
                self._count(reserved["role"], _usage(line))
                if "message" in line:
                    self._answers[reserved["key"]] = RecordedAnswer(line["message"], reserved["mode"])
        for left in open_calls.values():
            self._count(left["role"], _usage(left))
            self._write(_unknown(left))


def request_key(*parts: object) -> str:
    """A key that is equal for equal values."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:32]


def read_calls(path: Path) -> list[CallRecord]:
    """The record, in the order of the calls. A call that has not ended shows its whole reservation.

    An incomplete line (from a kill) is skipped: its call then counts as not ended, or as not made.
    """
    reserved: dict[str, dict[str, Any]] = {}
    settled: dict[str, dict[str, Any]] = {}
    for line in _lines(path):
        if line["event"] == "reserved":
            reserved[line["id"]] = line
        elif line["event"] == "settled":
            settled[line["id"]] = line
    return [_record(id, fields, settled.get(id) or _unknown(fields)) for id, fields in reserved.items()]


def _record(id: str, reserved: Mapping[str, Any], settled: Mapping[str, Any]) -> CallRecord:
    usage = _usage(settled)
    request = {name: reserved[name] for name in ("role", "purpose", "model")}
    return CallRecord(
        id=id,
        **request,
        **_usage_fields(usage),
        status=settled["status"],
        seconds=usage.seconds,
        messages=list(reserved["messages"]),
        answer=dict(settled["answer"]),
    )


def _unknown(reserved: Mapping[str, Any]) -> dict[str, Any]:
    """The line that settles a call whose end is not recorded."""
    problem = "the process ended before the answer; the whole reservation counts as spent"
    return {
        "event": "settled",
        "id": reserved["id"],
        "status": "unknown",
        **_usage_fields(_usage(reserved)),
        "seconds": 0.0,
        "answer": {"text": "", "tools": [], "problem": problem},
    }


def _usage_fields(usage: Usage) -> dict[str, Any]:
    return {"tokens_in": usage.tokens_in, "tokens_out": usage.tokens_out, "cost_usd": usage.cost_usd}


def _usage(line: Mapping[str, Any]) -> Usage:
    tokens_in, tokens_out, cost_usd = int(line["tokens_in"]), int(line["tokens_out"]), float(line["cost_usd"])
    return Usage(1, tokens_in, tokens_out, cost_usd, float(line.get("seconds", 0.0)))


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    for _, line in read_lines(path):
        if isinstance(line, dict) and "event" in line:
            yield migrated("call", line)
