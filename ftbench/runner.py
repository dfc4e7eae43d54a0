"""Running the benchmark: one run a task and seed, each in a directory of its own; what is done stays done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..files import write_atomic
from ..graph.api import PreparedRun, prepare_run, reopen
from .table import as_csv, markdown, picture, table

TABLES = ("table.md", "table.csv", "table.png")


@dataclass(frozen=True)
class Entry:
    """One run of the benchmark, ready to go, to go on, or done."""

    task: str
    seed: int
    prepared: PreparedRun

    @property
    def done(self) -> bool:
        return self.prepared.directory.finish.exists()


def entries(tasks: Sequence[str], seeds: Sequence[int], out: Path, **settings: Any) -> Iterator[Entry]:
    """The runs of the benchmark under `out`, one after the other, each made when it is asked for.

    A run that is there goes on with the settings it was begun with. Raises InputError for a task that is not
    known or out of reach.
    """
    for task in tasks:
        for seed in seeds:
            path = out / f"{task}-s{seed}"
            if (path / "run.json").exists():
                yield Entry(task, seed, reopen(path))
            else:
                yield Entry(task, seed, prepare_run(task, out=path, seed=seed, **settings))


def write_tables(directories: Sequence[Path], out: Path) -> list[Path]:
    """Write the table of these runs into `out` as Markdown, CSV and a picture; the paths written."""
    rows = table(directories)
    write_atomic(out / TABLES[0], markdown(rows))
    write_atomic(out / TABLES[1], as_csv(rows))
    picture(rows).savefig(out / TABLES[2], dpi=150)
    return [out / name for name in TABLES]
