"""The integrity section of a report: confinement, accesses to splits, unchanged files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...evaluation.grader import evaluation_records as ledger
from ...evaluation.grader.evaluation_records import Records
from ...evaluation.grader.messages import FROZEN, IDENTITY, Freeze
from ...evaluation.task import Task
from ...files import fingerprint, hash_file, read_json
from ...landlock import NOT_CONFINED, weakest
from ...training.jobs.trial_folder import read_result


class SplitHash(BaseModel):
    """A file of the task, and whether it is unchanged since the run began."""

    model_config = ConfigDict(frozen=True)

    name: str
    digest: str
    holds: bool = Field(description="Whether the file is still the same, byte for byte")


class Integrity(BaseModel):
    """Integrity of a run at the time of its report."""

    model_config = ConfigDict(frozen=True)

    dev_evaluations: int = Field(description="Times that dev was opened to score a model")
    test_openings: int = Field(description="Times that the test split was opened to score the winner")
    gate_openings: int = Field(description="Times that dev and test were opened to look for copies of them")
    source_openings: int = Field(description="Times that sources were opened to build a data set")
    splits: list[SplitHash]
    winner: Freeze | None = Field(description="The identity of the winner, None before it was sealed")
    faults: list[str] = Field(description="Changes that TREX did not make")


def check_integrity(directory: Path, task: Task, records: Records | None = None) -> Integrity:
    """Check the trail, the evaluations, the splits and the seal of a run. Changes are reported, not raised."""
    records = records or ledger.read_records(directory)
    whats = [entry.what for entry in records.entries]
    faults = list(records.faults)
    identity, frozen = _read(directory / IDENTITY), sealed_winner(directory, records)
    if identity is not None and _graders(records) - {fingerprint(identity)}:
        faults.append(
            f"{directory / IDENTITY} was changed since the run began: hashes of splits are not shown"
        )
        identity = None
    if frozen is None and records.last(ledger.OPEN_TEST) is not None:
        faults.append(f"{directory / FROZEN} does not name the winner that was sealed: it is not shown")
    return Integrity(
        dev_evaluations=ledger.openings(records.entries, "search", "confirm"),
        test_openings=whats.count(ledger.OPEN_TEST),
        gate_openings=whats.count(ledger.OPEN_FOR_GATE),
        source_openings=whats.count(ledger.OPEN_SOURCES),
        splits=_splits(identity or {}, task),
        winner=frozen,
        faults=faults,
    )


def sealed_winner(directory: Path, records: Records) -> Freeze | None:
    """frozen.json, if it names the winner that the trail says was sealed last; else None."""
    sealed = records.last(ledger.SEAL)
    try:
        frozen = Freeze.model_validate(_read(directory / FROZEN))
    except ValidationError:
        return None
    parts = frozen.model_dump(exclude={"winner", "key"})
    known = sealed is not None and (sealed["key"], sealed["winner"]) == (frozen.key, frozen.winner_hash)
    return frozen if known and frozen.key == fingerprint(parts) else None


def _graders(records: Records) -> set[str]:
    """The hashes of grader.json under which the grader's entries were made."""
    own = (entry.detail for entry in records.entries if entry.who == ledger.WHO)
    return {detail["grader"] for detail in own if "grader" in detail}


def confinement_of(trials: Path) -> str:
    """The weakest confinement of all workers; 'not confined' if one was not, or there was none."""
    try:
        results = [read_result(path) for path in trials.glob("*/rungs/*/result.json")]
    except OSError:
        return NOT_CONFINED
    return weakest(result.confinement for result in results if result)


def _splits(recorded: dict[str, Any], task: Task) -> list[SplitHash]:
    return [
        SplitHash(name=name, digest=recorded[name], holds=_holds(path, recorded[name]))
        for name, path in (("dev", task.dev), ("test", task.test))
        if isinstance(recorded.get(name), str)
    ]


def _holds(path: Path, digest: str) -> bool:
    try:
        return hash_file(path) == digest
    except OSError:
        return False


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = read_json(path)
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
