"""The Python API: `run`, `resume`, `load_run`, and the `Run` they return."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import duckdb
from langchain_core.runnables import RunnableConfig

from ..errors import InputError, reading
from ..evaluation.task import Task
from ..evaluation.task_check import TaskCheck
from ..files import read_json
from .app import Graph, build_graph
from .finish.finish_record import FinishRecord
from .llm.model_settings import ModelSettings
from .report.call_totals import read_run_calls
from .report.spend import spend_of_run
from .report.summary import BestSummary, RunSummary, summarise
from .report.verification import Stated, Verified, verify
from .report.write_report import write_report
from .researcher.given_plans import read_plans
from .run.budget import read_clock
from .run.checkpoint_store import checkpointer
from .run.directory import RunDirectory
from .run.events import Follow
from .run.migration import migrated
from .run.runner_choice import choose_runner
from .run.runtime import RuntimeRegistry
from .run.session import Approve, Session, Step
from .run.settings import Settings, parse_duration
from .run.setup import check_settings, default_directory, name_task, resolve_task, settle
from .steering.control import is_held
from .store.projection import Projector, connect_readonly
from .tree.tree import Tree, TreeReader

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["Run", "load_run", "resume", "run"]


class Run:
    """A run in its directory: the tree, its experiments and trials as data frames, the winner, a picture."""

    def __init__(self, directory: RunDirectory) -> None:
        self._directory = directory
        self.settings: Settings = directory.settings()

    @property
    def directory(self) -> Path:
        """Where everything of the run lies."""
        return self._directory.path

    @property
    def tree(self) -> Tree:
        """The tree as its last checkpoint has it, without scores that the grader's records do not confirm."""
        return self._verified().tree

    @property
    def summary(self) -> RunSummary:
        """What `trex show` prints."""
        return self._summarise(self._verified())

    def _verified(self) -> Verified:
        return verify(self._directory.run_info(), read_stated(self._directory))

    def _summarise(self, run: Verified) -> RunSummary:
        directory = self._directory
        calls = read_run_calls(directory.calls)
        spend = spend_of_run(run.tree, read_clock(directory.clock), run.finish, calls=calls)
        return summarise(run, spend, alive=is_held(directory.path), failure=directory.read_failure())

    @property
    def experiments(self) -> pd.DataFrame:
        """One row an experiment, as in the table `experiments`."""
        return self.query('SELECT * FROM experiments ORDER BY "round"')

    @property
    def trials(self) -> pd.DataFrame:
        """One row a trial, as in the table `trials`."""
        return self.query('SELECT * FROM trials ORDER BY experiment_id, "index"')

    @property
    def best(self) -> BestSummary | None:
        """The winner with its scores, None before anything was trained."""
        return self.summary.best

    def query(self, sql: str) -> pd.DataFrame:
        """Any SQL on experiments, trials, metrics, predictions and spend, read-only.

        Of a finished run the tables are made anew, from what agrees with the grader's records.
        """
        with self._tables() as path, closing(connect_readonly(path)) as connection:
            try:
                frame: pd.DataFrame = connection.sql(sql).df()
            except duckdb.Error as error:
                raise InputError(f"the query of {path} failed: {str(error).splitlines()[0]}") from error
            return frame

    @contextmanager
    def _tables(self) -> Iterator[Path]:
        """The experiment store of a run that goes on, or one made for this query."""
        directory = self._directory
        if not directory.finish.exists():
            yield directory.experiments
            return
        run = self._verified()
        with TemporaryDirectory(prefix="trex-query-") as folder:
            path = Path(folder) / directory.experiments.name
            Projector(path, directory.path).rebuild(run.tree, self._summarise(run).spend, run.finish)
            yield path

    def fork(
        self,
        experiment: str,
        *,
        out: str | Path | None = None,
        rounds: int | None = None,
        hint: str = "",
        approve: Approve | None = None,
        follow: Follow | None = None,
    ) -> Run:
        """A new run that goes on from this one's tree and refines `experiment` first, run to its end.

        `rounds` are those to come: by default what this run has left, at least one. `hint` is for the first
        plan. This run stays as it is. Raises InputError for an experiment that has no score.
        """
        asked = {"rounds": rounds, "approve": approve is not None}
        return self.prepare_fork(experiment, out=out, hint=hint, **asked).go(approve, follow)

    def prepare_fork(
        self, experiment: str, *, out: str | Path | None = None, hint: str = "", **changes: object
    ) -> PreparedRun:
        """As `fork`, but nothing has begun yet. `changes` are fields of `Settings`, else as this run's."""
        from .steering.fork import fork_run

        path = Path(out) if out is not None else default_directory(self._directory.task())
        return PreparedRun(*fork_run(self._directory, self.tree, experiment, path, hint, **changes))

    def write_report(self) -> list[Path]:
        """Write report.md, report.html and experiments.duckdb anew; their paths."""
        directory, run = self._directory, self._verified()
        summary = self._summarise(run)
        page = write_report(run, summary)
        Projector(directory.experiments, directory.path).rebuild(run.tree, summary.spend, run.finish)
        return [page, page.with_suffix(".md"), directory.experiments]

    def plot(self) -> Figure:
        """The tree, and the best score by round, as a matplotlib figure."""
        from .report.plot import plot_run

        best = self.best
        return plot_run(self.tree, winner=best.experiment if best else None)

    def __repr__(self) -> str:
        return f"Run({str(self.directory)!r})"


def run(
    task: str | Path | Task,
    *,
    rounds: int | None = None,
    trials: int | None = None,
    budget: str | float | None = None,
    policy: str = "mcts",
    seed: int = 0,
    out: str | Path | None = None,
    fresh_seeds: int = 0,
    llm: str | ModelSettings | None = None,
    judge: str | ModelSettings | None = None,
    researcher: str | None = None,
    plans: Sequence[str | Path] = (),
    memory: bool = True,
    diagnosis: bool = True,
    smoke: bool = False,
    reuse: bool = True,
    keep_all: bool = False,
    allow_python: bool = False,
    track: str = "",
    runner: str | None = None,
    approve: Approve | None = None,
    follow: Follow | None = None,
    step: Step | None = None,
) -> Run:
    """Improve a model on a task by a tree of experiments, and return the finished run.

    `task` is a name, the path of a task file, or a `Task`. `budget` limits active time ('10m' or seconds).
    `llm` is 'provider:model', or `ModelSettings`; without it the built-in policy plans. `judge`, likewise, judges
    answers under the metric `judge`; without it `llm` does. `researcher` names another Researcher than these two.
    `plans` are files with the plans of the first rounds. `memory` and `diagnosis` switch off what plans know of the
    tree, and what is read from failures. `track`: tensorboard, mlflow, wandb or trackio. `runner` says where jobs run,
    'NAME:setting=value,…', by default that of trex.toml, else this machine. `allow_python` lets recipes run code in a
    sandbox. `approve` is called with every plan, `follow` with every event, `step` before every turn of an agent and
    about its answer: it may return edits (`llm.agent_review.StepReview`). Raises InputError for bad input,
    TrexError if the run fails; after an interruption `resume` goes on.
    """
    prepared = prepare_run(
        task,
        out=out,
        smoke=smoke,
        approve=approve is not None,
        rounds=rounds,
        trials=trials,
        budget_seconds=parse_duration(budget) if isinstance(budget, str) else budget,
        policy=policy,
        seed=seed,
        fresh_seeds=fresh_seeds,
        llm=llm,
        judge=judge,
        researcher=researcher,
        plans=read_plans(plans),
        memory=memory,
        diagnosis=diagnosis,
        reuse=reuse,
        keep_all=keep_all,
        allow_python=allow_python,
        **(choose_runner(runner) | {"track": track}),
    )
    return prepared.go(approve, follow, step=step)


def resume(
    directory: str | Path,
    *,
    approve: Approve | None = None,
    follow: Follow | None = None,
    step: Step | None = None,
) -> Run:
    """Go on with a run that was interrupted or killed. A finished run is returned as it is."""
    return reopen(directory).go(approve, follow, step=step)


def load_run(directory: str | Path) -> Run:
    """Open a run to look at it. Raises InputError if there is none."""
    return Run(RunDirectory.open(Path(directory)))


@dataclass(frozen=True)
class PreparedRun:
    """A run that can start: its settings are frozen and written, nothing has begun."""

    directory: RunDirectory
    settings: Settings

    def go(
        self,
        approve: Approve | None = None,
        follow: Follow | None = None,
        runtimes: RuntimeRegistry | None = None,
        *,
        step: Step | None = None,
    ) -> Run:
        """Run to the end. A finished run is left as it is."""
        if not self.directory.finish.exists():
            session = Session(self.directory, self.settings, runtimes, step=step is not None)
            with closing(session):
                session.run(approve, follow, step)
        return Run(self.directory)

    @contextmanager
    def open_graph(self, runtimes: RuntimeRegistry | None = None) -> Iterator[tuple[Graph, RunnableConfig]]:
        """The run's graph and its configuration, to stream, stop and edit by hand with LangGraph's own methods.

        A person is asked before every turn of an agent, unless the configuration's `step` is switched off.
        """
        with closing(Session(self.directory, self.settings, runtimes, step=True)) as session:
            yield session.graph, session.config


def prepare_run(
    task: str | Path | Task,
    *,
    out: str | Path | None = None,
    smoke: bool = False,
    announce: Callable[[Task, TaskCheck, Settings], None] | None = None,
    **asked: object,
) -> PreparedRun:
    """Settle a new run and make its directory; `announce` is called before anything is written.

    `asked` are fields of `Settings`. Raises InputError.
    """
    resolved = resolve_task(task, smoke)
    path = Path(out) if out is not None else default_directory(resolved)
    RunDirectory.refuse_existing(path)
    settings, check = settle(resolved, name_task(task, path), path, smoke=smoke, **asked)
    if announce:
        announce(resolved, check, settings)
    return PreparedRun(RunDirectory.create(settings, resolved, check), settings)


def reopen(directory: str | Path) -> PreparedRun:
    """Settle the resumption of a run. Raises InputError if its checkpoint is a server's."""
    opened = RunDirectory.open(Path(directory))
    settings = opened.settings()
    if settings.checkpoint == "server":
        raise InputError(
            f"{opened.path} is run by a LangGraph server, which owns its checkpoint: go on with thread "
            f"{settings.thread_id} there (Studio, or langgraph_sdk)"
        )
    if not opened.finish.exists():
        check_settings(settings)
    return PreparedRun(opened, settings)


def read_stated(directory: RunDirectory) -> Stated:
    """The end of the run, and its tree in the newest checkpoint, or in the copy that a served run keeps.

    The tree is empty before the baseline. Raises InputError for files that are damaged.
    """
    kept = directory.settings().checkpoint
    served = kept == "server"
    source = directory.tree if served else directory.checkpoints
    values: Mapping[str, Any] = {}
    with reading(source, "the run cannot be opened"):
        if source.exists() or kept == "postgres":
            values = {"tree": read_json(source)} if served else _checkpoint(directory)
        stored_tree = values.get("tree", {})
        tree = TreeReader().read(stored_tree)
    stored_finish = finish = None
    if directory.finish.exists():
        with reading(directory.finish, "remove it, and the run is shown without its end"):
            stored_finish = read_json(directory.finish)
            finish = FinishRecord.model_validate(migrated("finish", stored_finish))
    return Stated(
        tree=tree,
        finish=finish,
        stored_tree=None if served else stored_tree,
        stored_finish=stored_finish,
        done=values.get("status") == "done",
    )


def _checkpoint(directory: RunDirectory) -> Mapping[str, Any]:
    """The state of the graph. Raises ValueError where the database is damaged."""
    config: RunnableConfig = {"configurable": {"thread_id": directory.settings().thread_id}}
    with checkpointer(directory, directory.settings()) as store:
        try:
            values: Mapping[str, Any] = build_graph(checkpointer=store).get_state(config).values
        except sqlite3.Error as error:
            raise ValueError(str(error)) from error
    return values
