"""The stored evaluations of a run, and what the audit trail says of them: one that the grader never made is refused.

Before dev or test is opened for an evaluation, the trail says so. Before an evaluation becomes visible, the trail
holds the hashes of it and of its predictions.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ...errors import IntegrityError
from ...files import fingerprint, hash_file, read_json, write_json
from ..results import Evaluation
from . import audit
from .audit import AuditEntry

WHO = "grader"
EVALUATE = "evaluate"
EVALUATED = "evaluated"
SEAL = "seal"
OPEN_TEST = "open_test"
OPEN_FOR_GATE = "open_for_gate"
OPEN_SOURCES = "open_sources"


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


def faults(run_dir: Path, entries: Iterable[AuditEntry]) -> list[str]:
    """What is wrong with the evaluations and predictions of a run, a line each."""
    entries, found = list(entries), []
    for path in sorted((run_dir / "evaluations").glob("*.json")):
        try:
            _verified(run_dir, path, entries)
        except IntegrityError as error:
            found.append(str(error))
    known = {entry.detail["id"] for entry in entries if entry.what == EVALUATE}
    for path in sorted((run_dir / "predictions").glob("*.jsonl")):
        if path.stem.removeprefix("test-") not in known:
            found.append(f"{path} belongs to no evaluation of this run")
    return found


def openings(entries: Iterable[AuditEntry], *splits: str) -> int:
    """How often one of these splits was opened to evaluate a model."""
    return sum(entry.what == EVALUATE and entry.detail["split"] in splits for entry in entries)


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
    except (OSError, ValueError) as error:
        raise IntegrityError(f"{path} or its predictions can't be read ({type(error).__name__})") from error
    entered = [
        entry.detail for entry in entries if entry.what == EVALUATED and entry.detail["id"] == path.stem
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
