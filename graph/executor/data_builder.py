"""Builds the data sets of a run and checks them against dev and test."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ...errors import IntegrityError
from ...evaluation.grader import audit
from ...evaluation.grader import evaluation_records as ledger
from ...evaluation.grader.client import Grader
from ...evaluation.results import ContaminationReport
from ...evaluation.task import Task
from ...files import write_jsonl
from ...training.data.build import TRAIN, BuiltDataset, build, without_rows
from ...training.data.models.model_access import ModelAccess
from ...training.data.recipe import DataRecipe
from ...training.data.row_table import choose, visible
from ...training.data.sources import content_hash, load

FEW_ROWS = 3
FEW = 0.05
"""So many rows, plus this share, may repeat dev or test items whatever the sources hold: they are removed."""
SELECTED = 3.0
"""With more than this multiple of the sources' own share above that, a recipe selects for them and is refused."""
SAMPLE = 2000
"""Rows of a source from which its own share is estimated."""
WHO = "data builder"


@dataclass(frozen=True)
class PreparedData:
    """A built data set, without the rows that repeat dev or test items, and the report of the contamination gate."""

    dataset: BuiltDataset
    contamination: ContaminationReport


@dataclass(frozen=True)
class DataBuilder:
    """Builds the data sets of a run in the folder `datasets`; `reuse` is a store shared with other runs, `models`
    are for steps that use one."""

    task: Task
    datasets: Path
    reuse: Path | None
    grader: Grader
    models: ModelAccess | None = None
    allow_python: bool = False

    def prepare(self, recipe: DataRecipe) -> PreparedData:
        """Build the recipe's data set, check it, and remove rows that repeat dev or test items.

        If the recipe selects for such rows, they stay, and the report is not clean. Raises PlanError for a recipe that
        cannot be executed, IntegrityError for a source that changed.
        """
        _record_sources(recipe, self.task, self.datasets.parent)
        try:
            dataset = build(recipe, self.task, self.datasets, self.reuse, self.models, self.allow_python)
        finally:
            if self.models is not None:
                self.models.close()
        report = self.grader.check_contamination(dataset.folder)
        if not report.clean and self._may_remove(recipe, report):
            audit.record(
                self.datasets.parent,
                WHO,
                ledger.REMOVE_REPEATS,
                {"dataset": dataset.fingerprint, "rows": report.matches},
            )
            dataset = without_rows(dataset, report.rows)
            if self.grader.check_contamination(dataset.folder).clean:
                report = report.model_copy(update={"removed": report.matches, "clean": True})
        return PreparedData(dataset, report.model_copy(update={"rows": []}))

    def _may_remove(self, recipe: DataRecipe, report: ContaminationReport) -> bool:
        """Whether the matching rows come from the sources as they are, not from a recipe made to find them."""
        rows, matches = report.checked_rows, report.matches
        if len(report.rows) != matches or matches == rows:
            return False
        few = FEW_ROWS + FEW * rows
        if matches <= few:
            return True
        return matches <= few + SELECTED * rows * max(self._own_share(s.source) for s in recipe.streams)

    def _own_share(self, source: str) -> float:
        """The share of a source's rows that repeat dev or test items, from a sample."""
        rows = choose(load(self.task, source), SAMPLE, "contamination")
        texts = (
            {
                name: value if isinstance(value, str) else json.dumps(value, default=str)
                for name, value in row.items()
            }
            for row in rows.select_columns(visible(rows.column_names))
        )
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name) / f"sample-of-{source}"
            write_jsonl(folder / TRAIN, texts)
            report = self.grader.check_contamination(folder)
        return report.matches / report.checked_rows


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
    audit.record(run_dir, WHO, ledger.OPEN_SOURCES, hashes)
