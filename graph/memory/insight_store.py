"""The insight store: insights of finished runs, kept in TREX_HOME for later runs on similar tasks.

A LangGraph `SqliteStore` (JSON text, no pickles) with one item a run: writing it again replaces it, and runs that end
together don't disturb each other. If the file can't be read or written, a warning is logged and the run continues
without it.

Two tasks are *similar* if the mean of three figures is at least `LEAST_SIMILARITY`: the same metric (0 or 1), the same
form of answers (0 or 1: chosen or generated), and the Jaccard index of the words of their requirements.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import date
from functools import partial
from pathlib import Path
from typing import Literal

from langgraph.store.base import SearchItem
from langgraph.store.sqlite import SqliteStore
from pydantic import BaseModel, ValidationError

from ...evaluation.task import Task
from ...evaluation.words import resemblance, word_set
from ...files import fingerprint, lock
from ...home import home
from .insights import MOST, Insight

LOG = logging.getLogger(__name__)

LEAST_SIMILARITY = 0.5
"""Two tasks with the same metric and form of answers reach it whatever their requirements say."""

MOST_RUNS = 500
"""Runs that are read, the latest first."""

_NAMESPACE = ("insights",)
_BUSY_SECONDS = 10.0
_UNUSABLE = (sqlite3.Error, OSError, ValueError)


class _Profile(BaseModel, frozen=True):
    """What the similarity of tasks is computed from."""

    name: str
    metric: str
    answers: Literal["chosen", "generated"]
    requirement: str

    @classmethod
    def of(cls, task: Task) -> _Profile:
        answers: Literal["chosen", "generated"] = "chosen" if task.choices else "generated"
        return cls(name=task.name, metric=task.metric, answers=answers, requirement=task.requirement)

    def similarity(self, other: _Profile) -> float:
        """The similarity of two tasks, in [0, 1]; see the module docstring."""
        wording = resemblance(word_set(self.requirement), word_set(other.requirement))
        return ((self.metric == other.metric) + (self.answers == other.answers) + wording) / 3


class _Kept(BaseModel, frozen=True):
    """A run's item in the store."""

    schema_version: Literal[1] = 1
    run: str
    task: _Profile
    day: date
    insights: tuple[Insight, ...]


class InsightStore:
    """Opens the file for each call and closes it again. `path` is insights.sqlite in TREX_HOME by default.

    Smoke runs have a file of their own: results of a tiny model on little data don't hold for others.
    A run is named by the path of its directory, which no two runs share.
    """

    def __init__(self, path: Path | None = None, *, smoke: bool = False) -> None:
        own = "insights-smoke.sqlite" if smoke else "insights.sqlite"
        self.path = home() / own if path is None else path

    def keep(self, task: Task, run: Path, insights: Sequence[Insight], day: date | None = None) -> bool:
        """Keep a run's insights in place of what was kept of it before; `day` is today unless given.

        Whether it could: where the file can't be written a warning is logged. Insights of other runs are not
        kept again. Open ones without evidence are kept: later runs may test them.
        """
        own = tuple(insights[:MOST])
        kept = _Kept(run=str(run), task=_Profile.of(task), day=day or date.today(), insights=own)
        try:
            with self._store() as store:
                store.put(_NAMESPACE, _key(run), kept.model_dump(mode="json"))
        except _UNUSABLE as error:
            LOG.warning("insights of this run are not kept: cannot write %s (%s)", self.path, error)
            return False
        return True

    def find(self, task: Task, run: Path, most: int = 8) -> tuple[Insight, ...]:
        """Insights of other runs on similar tasks, at most `most`: the confirmed first, then the open.

        Within each, those of the most similar tasks first, then the latest. Repetitions of earlier ones are left out,
        and so are dropped ones. `origin` names the run, the task and the day. Empty,
        with a warning, where the file can't be read.
        """
        if not self.path.exists():
            return ()
        try:
            with self._store() as store:
                items = store.search(_NAMESPACE, limit=MOST_RUNS)
        except _UNUSABLE as error:
            LOG.warning("insights of earlier runs are not used: cannot read %s (%s)", self.path, error)
            return ()
        others = [kept for item in items if item.key != _key(run) and (kept := self._read(item)) is not None]
        return _chosen(_Profile.of(task), others, most)

    @contextmanager
    def _store(self) -> Iterator[SqliteStore]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connect = partial(sqlite3.connect, isolation_level=None, check_same_thread=False)
        with closing(connect(self.path, timeout=_BUSY_SECONDS)) as connection:
            store = SqliteStore(connection)
            # Two first runs must not migrate at once: adding a column twice is an error.
            with lock(self.path.with_suffix(".lock")):
                connection.execute("PRAGMA journal_mode=WAL")
                store.setup()
            yield store

    def _read(self, item: SearchItem) -> _Kept | None:
        try:
            return _Kept.model_validate(item.value)
        except ValidationError:
            LOG.warning("an entry of %s is not of this version and is ignored", self.path)
            return None


def _key(run: Path) -> str:
    return fingerprint(str(run))


def _chosen(task: _Profile, others: Sequence[_Kept], most: int) -> tuple[Insight, ...]:
    ranked = []
    for kept in others:
        similarity = task.similarity(kept.task)
        if similarity >= LEAST_SIMILARITY:
            for place, insight in enumerate(kept.insights):
                order = insight.status != "confirmed", -similarity, -kept.day.toordinal(), kept.run, place
                ranked.append((order, insight, kept))
    chosen: list[Insight] = []
    for _, insight, kept in sorted(ranked, key=lambda entry: entry[0]):
        repeated = any(insight.repeats(each) for each in chosen)
        if insight.status != "dropped" and not repeated and len(chosen) < most:
            origin = f"run {Path(kept.run).name} on task {kept.task.name}, {kept.day.isoformat()}"
            chosen.append(insight.model_copy(update={"origin": origin}))
    return tuple(chosen)
