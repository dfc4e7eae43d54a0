"""The stored evaluations of a run, and what the audit trail says of them: one that the grader never made is refused.

Before dev or test is opened for an evaluation, the trail says so. Before an evaluation becomes visible, the trail
holds the hashes of it and of its predictions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import IntegrityError
from ...files import fingerprint, hash_file, read_json, write_json
from ..results import Evaluation
from ..task import Split
from . import audit
from .audit import AuditEntry

WHO = "grader"
EVALUATE = "evaluate"
EVALUATED = "evaluated"
JUDGE = "judge"
SEAL = "seal"
OPEN_TEST = "open_test"
OPEN_FOR_GATE = "open_for_gate"
OPEN_SOURCES = "open_sources"
REMOVE_REPEATS = "remove_repeats"
FORK = "fork"
FINISHED = "finished"
NO_SCORE = "no score is shown"


@dataclass(frozen=True)
class Records:
    """What the audit trail of a run confirms: its entries, its evaluations by id; and what does not agree with it."""

    entries: Sequence[AuditEntry] = ()
    evaluations: Mapping[str, Evaluation] = field(default_factory=dict)
    faults: Sequence[str] = ()

    def last(self, what: str) -> dict[str, Any] | None:
        """The detail of the last entry of that kind; in a fork, not one of the run that it comes from."""
        for entry in reversed(self.entries):
            if entry.what == what:
                return entry.detail
            if entry.what == FORK:
                break
        return None

    def adapter(self, identity: str) -> str | None:
        """The hash of the adapter that was evaluated under that id."""
        found = (e.detail for e in self.entries if e.what == EVALUATE and e.detail.get("id") == identity)
        return next((detail.get("adapter") for detail in found), None)

    def confirm(self, stated: Evaluation, split: Split) -> bool:
        """Whether the grader made this evaluation on that split. `secondary` may say more than the grader's file."""
        kept = self.evaluations.get(stated.id)
        return (
            kept is not None
            and stated.split == split
            and kept.model_dump(exclude={"secondary"}) == stated.model_dump(exclude={"secondary"})
            and kept.secondary.items() <= stated.secondary.items()
        )


def keep(run_dir: Path, evaluation: Evaluation) -> None:
    """Enter an evaluation whose predictions are written into the trail, then write it."""
    stored = evaluation.model_dump(mode="json")
    audit.record(
        run_dir,
        WHO,
        EVALUATED,
        {"id": evaluation.id, "split": evaluation.split, **_hashes(run_dir, stored)},
    )
    write_json(_file(run_dir, evaluation.id), stored)


def find(run_dir: Path, identity: str) -> Evaluation | None:
    """The evaluation kept under that id, None if there is none.

    Raises IntegrityError if the file or its predictions are not what the grader wrote, or the trail was changed.
    """
    path, entries = _file(run_dir, identity), audit.read(run_dir)
    return _verified(run_dir, path, entries) if path.exists() else None


def read_records(run_dir: Path) -> Records:
    """The records of a run. What is wrong is reported, not raised; without a whole trail no evaluation counts."""
    # Before the trail: it has an entry before there is a file, so a run that goes on shows no false fault.
    files = sorted((run_dir / "evaluations").glob("*.json"))
    predictions = sorted((run_dir / "predictions").glob("*.jsonl"))
    try:
        entries = audit.read(run_dir)
    except (IntegrityError, OSError) as error:
        return Records(faults=(f"{error}: {NO_SCORE}",))
    if not entries and files:
        return Records(faults=(f"{run_dir / audit.FILE} is missing or empty: {NO_SCORE}",))
    known = {entry.detail.get("id") for entry in entries if entry.what == EVALUATE}
    foreign = [path for path in predictions if path.stem.removeprefix("test-") not in known]
    found = [f"{path} belongs to no evaluation of this run" for path in foreign]
    evaluations = {}
    for path in files:
        try:
            evaluations[path.stem] = _verified(run_dir, path, entries)
        except IntegrityError as error:
            found.append(str(error))
    return Records(entries, evaluations, tuple(found))


def openings(entries: Iterable[AuditEntry], *splits: str) -> int:
    """How often one of these splits was opened to evaluate a model."""
    return sum(entry.what == EVALUATE and entry.detail.get("split") in splits for entry in entries)


def source_hashes(entries: Iterable[AuditEntry]) -> dict[str, str]:
    """The hash of every source when the run first opened it."""
    hashes: dict[str, str] = {}
    for entry in entries:
        if entry.what == OPEN_SOURCES:
            hashes = entry.detail | hashes
    return hashes


def _verified(run_dir: Path, path: Path, entries: Iterable[AuditEntry]) -> Evaluation:
    try:
        stored = read_json(path)
        evaluation = Evaluation.model_validate(stored)
        hashes = _hashes(run_dir, stored)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise IntegrityError(f"{path} or its predictions can't be read ({type(error).__name__})") from error
    entered = [
        entry.detail for entry in entries if entry.what == EVALUATED and entry.detail.get("id") == path.stem
    ]
    if evaluation.id != path.stem or not any(hashes.items() <= detail.items() for detail in entered):
        raise IntegrityError(
            f"{path} or its predictions are not what the grader wrote: no score; remove both files, and the "
            "model is evaluated again"
        )
    return evaluation


def _hashes(run_dir: Path, stored: dict[str, Any]) -> dict[str, str | None]:
    """Hashes of an evaluation as it is stored, whatever version stored it, and of its predictions."""
    predictions = stored.get("predictions")
    return {
        "evaluation": fingerprint(stored, length=64),
        "predictions": None if predictions is None else hash_file(run_dir / predictions),
    }


def _file(run_dir: Path, identity: str) -> Path:
    return run_dir / "evaluations" / f"{identity}.json"
