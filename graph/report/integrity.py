"""The integrity section of a report: confinement, accesses to splits, unchanged files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from ...errors import IntegrityError
from ...evaluation.grader import audit
from ...evaluation.grader import evaluation_records as ledger
from ...evaluation.grader.messages import FROZEN, IDENTITY, Freeze
from ...evaluation.task import Task
from ...files import hash_file, read_json
from ...landlock import weakest
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


def check_integrity(directory: Path, task: Task) -> Integrity:
    """Check the trail, the evaluations, the splits and the seal of a run. Changes are reported, not raised."""
    entries, faults = [], []
    try:
        entries = audit.read(directory)
    except IntegrityError as error:
        faults.append(str(error))
    whats = [entry.what for entry in entries]
    frozen = _read(directory / FROZEN)
    return Integrity(
        dev_evaluations=ledger.openings(entries, "search", "confirm"),
        test_openings=whats.count(ledger.OPEN_TEST),
        gate_openings=whats.count(ledger.OPEN_FOR_GATE),
        source_openings=whats.count(ledger.OPEN_SOURCES),
        splits=_splits(directory, task),
        winner=None if frozen is None else Freeze.model_validate(frozen),
        faults=faults or ledger.faults(directory, entries),
    )


def confinement_of(trials: Path) -> str:
    """The weakest confinement of all workers; 'not confined' if one was not, or there was none."""
    results = map(read_result, trials.glob("*/rungs/*/result.json"))
    return weakest(result.confinement for result in results if result)


def _splits(directory: Path, task: Task) -> list[SplitHash]:
    recorded = _read(directory / IDENTITY) or {}
    return [
        SplitHash(
            name=name, digest=recorded[name], holds=path.is_file() and hash_file(path) == recorded[name]
        )
        for name, path in (("dev", task.dev), ("test", task.test))
        if name in recorded
    ]


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = read_json(path)
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
