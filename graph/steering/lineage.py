"""The origin of a fork: its entry in the audit trail, and whether the test split was opened before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...errors import IntegrityError
from ...evaluation.grader import audit
from ...evaluation.grader import evaluation_records as ledger
from ...evaluation.grader.audit import AuditEntry
from ...files import canonical_json, write_atomic

_OF_TEST = (ledger.SEAL, ledger.OPEN_TEST)


def inherit_trail(source: Path, fork: Path, entries: Sequence[AuditEntry], experiment: str) -> None:
    """Write a fork's trail: the source's without its test split, chained again, with an entry for what was left out.

    So evaluations on dev are counted on, and every score stays verified.
    """
    trail: list[AuditEntry] = []
    for entry in entries:
        if entry.what not in _OF_TEST and entry.detail.get("split") != "test":
            trail.append(entry.chained(trail[-1].hash if trail else ""))
    write_atomic(fork / audit.FILE, "".join(canonical_json(entry.model_dump()) + "\n" for entry in trail))
    detail = {
        "source": str(source.absolute()),
        "experiment": experiment,
        "trail": entries[-1].hash if entries else "",
        "test_openings": _openings(entries),
    }
    audit.record(fork, ledger.FORK, ledger.FORK, detail)


def saw_test_split(run: Path) -> bool:
    """Whether a run that this one descends from has opened the test split, before the fork or since.

    A trail that was changed counts as opened.
    """
    try:
        # A fork of a fork holds the entries of both.
        forks = [entry.detail for entry in audit.read(run) if entry.what == ledger.FORK]
        return any(fork["test_openings"] or _openings(audit.read(Path(fork["source"]))) for fork in forks)
    except IntegrityError:
        return True


def _openings(entries: Sequence[AuditEntry]) -> int:
    return sum(entry.what == ledger.OPEN_TEST for entry in entries)
