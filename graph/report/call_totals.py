"""What a run's calls of chat models amount to: which round each belongs to, and what they took together."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..llm.usage import Usage

if TYPE_CHECKING:
    from ..llm.protocol import CallRecord

BEFORE_ROUNDS = frozenset({"analyze", "research"})
"""First words of the purposes of calls that precede the first round."""

_EXPERIMENT = re.compile(r"\be(\d+)\b")


def read_run_calls(path: Path) -> list[CallRecord]:
    """The record of a run, in the order in which calls were made; empty for a run without a chat model."""
    if not path.exists():
        return []
    from ..llm.call_ledger import read_calls  # a run without a chat model needs nothing of it

    return read_calls(path)


def event_of(call: CallRecord) -> dict[str, Any]:
    """What the event `called` says of a call that ended: sums and names, none of its texts."""
    return {
        "role": call.role,
        "purpose": call.purpose,
        "model": call.model,
        "status": call.status,
        "tokens_in": call.tokens_in,
        "tokens_out": call.tokens_out,
        "cost_usd": call.cost_usd,
        "seconds": call.seconds,
        "tools": [str(tool["name"]) for tool in call.answer.get("tools") or []],
    }


def totals(calls: Iterable[CallRecord]) -> Usage:
    """The sum over calls, those that failed included: they are paid for too."""
    return sum((call.usage for call in calls), Usage())


def experiment_of(call: CallRecord) -> str | None:
    """The id of the experiment that a call was made for: 'e003' of 'plan e003'; None before the first."""
    match = _EXPERIMENT.search(call.purpose)
    return match[0] if match else None


def round_of(call: CallRecord) -> int | None:
    """The round of a call, 0 for what precedes the first; None if its purpose names none."""
    match = _EXPERIMENT.search(call.purpose)
    if match:
        return int(match[1])
    first = call.purpose.split(maxsplit=1)[:1]
    return 0 if first and first[0] in BEFORE_ROUNDS else None


def by_experiment(calls: Sequence[CallRecord]) -> dict[str | None, list[CallRecord]]:
    """The calls of each experiment, in order; under None those that belong to no experiment."""
    groups: dict[str | None, list[CallRecord]] = {}
    for call in calls:
        groups.setdefault(experiment_of(call), []).append(call)
    return groups


@dataclass(frozen=True)
class RoleUsage:
    """What one role took of one model; `unanswered` calls failed or were cut off."""

    role: str
    model: str
    unanswered: int
    usage: Usage


def by_role(calls: Sequence[CallRecord]) -> list[RoleUsage]:
    """Sums by role and model, in the order in which they first appear."""
    groups: dict[tuple[str, str], list[CallRecord]] = {}
    for call in calls:
        groups.setdefault((call.role, call.model), []).append(call)
    return [
        RoleUsage(role, model, sum(call.status != "answered" for call in made), totals(made))
        for (role, model), made in groups.items()
    ]


def by_round(calls: Sequence[CallRecord]) -> dict[int, Usage]:
    """Sums by round, in order; calls that belong to no round count to the last before them."""
    groups: dict[int, list[CallRecord]] = {}
    last = 0
    for call in calls:
        found = round_of(call)
        last = last if found is None else found
        groups.setdefault(last, []).append(call)
    return {number: totals(groups[number]) for number in sorted(groups)}
