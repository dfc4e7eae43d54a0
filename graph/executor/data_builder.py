"""Builds the data sets of a run and checks them against dev and test."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...errors import IntegrityError
from ...evaluation.grader import audit
from ...evaluation.grader import evaluation_records as ledger
from ...evaluation.grader.client import Grader
from ...evaluation.results import ContaminationReport
from ...evaluation.task import Task
from ...training.data.build import BuiltDataset, build
from ...training.data.recipe import DataRecipe
from ...training.data.sources import content_hash


@dataclass(frozen=True)
class PreparedData:
    """A built data set and the report of the contamination gate."""

    dataset: BuiltDataset
    contamination: ContaminationReport


@dataclass(frozen=True)
class DataBuilder:
    """Builds the data sets of a run in the folder `datasets`; `reuse` is a store shared with other runs."""

    task: Task
    datasets: Path
    reuse: Path | None
    grader: Grader

    def prepare(self, recipe: DataRecipe) -> PreparedData:
        """Build the recipe's data set and check it.

        Raises PlanError for a recipe that cannot be executed, IntegrityError for a source that changed.
        """
        _record_sources(recipe, self.task, self.datasets.parent)
        dataset = build(recipe, self.task, self.datasets, self.reuse)
        return PreparedData(dataset, self.grader.check_contamination(dataset.folder))


def _record_sources(recipe: DataRecipe, task: Task, run_dir: Path) -> None:
    """Record in the audit trail which sources are opened, with their hashes.

    Raises IntegrityError for a source that changed since the run first opened it, PlanError and InputError like
    `build`.
    """
    names = sorted({stream.source for stream in recipe.streams})
    hashes = {name: content_hash(task, name) for name in names}
    known = ledger.source_hashes(audit.read(run_dir))
    changed = [name for name, digest in hashes.items() if known.get(name, digest) != digest]
    if changed:
        raise IntegrityError(
            f"source '{changed[0]}' of task {task.name!r} changed since this run first opened it: undo the "
            "change or start a new run"
        )
    audit.record(run_dir, "data builder", ledger.OPEN_SOURCES, hashes)
