"""The experiment store: `experiments.duckdb`, a projection of the tree to query with SQL.

It holds nothing that is not in the checkpoint, in the predictions of `search` or in the record of calls, so
it may be late, missing or damaged, and is mended by writing it again. DuckDB lets one process write or many
read: the file is opened for each write and closed, and a write that finds it held by a reader waits a little,
then leaves its rows to the next one. The test split has no place here: tables refuse it.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from pathlib import Path

import duckdb

from ...errors import InputError, TrexError
from ..report.call_totals import read_run_calls
from ..report.summary import FinishRecord, Spend
from ..tree.experiment import Experiment
from ..tree.tree import NodeStatistics, Tree
from .tables import (
    METRICS,
    MODEL,
    SPEND,
    TABLES,
    Row,
    call_rows,
    evaluations,
    experiment_row,
    metric_rows,
    model_spend_rows,
    refuse_test,
    trial_row,
    trial_seconds,
)

RETRY_EVERY_S = 0.05
LOG = logging.getLogger(__name__)


class Projector:
    """Writes a run's tree to its DuckDB file; remembers what it wrote, so that a round writes its own rows.

    `run` is the run directory, to which evaluations' predictions are relative and which holds the record of
    calls. One instance a process. A write costs up to 0.1 s whatever it writes, so rounds that end within
    `every_s` of one wait for the next.
    """

    def __init__(self, path: Path, run: Path, every_s: float = 15.0) -> None:
        self._path = path
        self._run = run
        self._calls_file = run / "calls.jsonl"
        self._every_s = every_s
        self._last_write = float("-inf")
        self._forget()

    @property
    def due(self) -> bool:
        """Whether the last write is long enough ago."""
        return time.monotonic() - self._last_write >= self._every_s

    def _forget(self) -> None:
        self._written: dict[str, tuple[Experiment, NodeStatistics]] = {}
        self._spend: Spend | None = None
        self._finish: FinishRecord | None = None
        self._call_rows: list[Row] = []

    def project(
        self,
        tree: Tree,
        spend: Spend | None = None,
        finish: FinishRecord | None = None,
        *,
        required: bool = False,
        patience_s: float | None = None,
    ) -> bool:
        """Bring the file up to date in one transaction; False if it was not written now.

        What is skipped is written the next time. With `required`, at a run's end, it writes at once, waits
        longer for other holders of the file (10 s instead of half a second, or `patience_s`), and raises
        TrexError if it can't write.
        """
        if not required and not self.due:
            return False
        patience = patience_s if patience_s is not None else 10.0 if required else 0.5
        if not self._path.exists():
            self._forget()
        try:
            self._write(tree, spend, finish, patience)
        except duckdb.Error as error:
            reason = str(error).splitlines()[0]
            if required:
                raise TrexError(
                    f"{self._path} could not be written ({reason}): close what has it open, then "
                    f"`trex report {self._run}` writes it again"
                ) from error
            LOG.warning("%s is not up to date (%s); the next round writes it again", self._path.name, reason)
            return False
        return True

    def rebuild(self, tree: Tree, spend: Spend | None = None, finish: FinishRecord | None = None) -> None:
        """Write the file from nothing. Raises TrexError if somebody holds it."""
        connection = _connect(self._path, patience_s=10.0)
        try:
            for table in TABLES:
                connection.execute(f"DROP TABLE IF EXISTS {table}")
        finally:
            connection.close()
        self._forget()
        self.project(tree, spend, finish, required=True)

    def _write(self, tree: Tree, spend: Spend | None, finish: FinishRecord | None, patience_s: float) -> None:
        changed = [e for e in tree if not self._is_written(e, tree.statistics[e.id])]
        fresh = [e for e in changed if e.id not in self._written or self._written[e.id][0] is not e]
        calls = read_run_calls(self._calls_file)
        rows, known = call_rows(calls), self._call_rows
        told = [row for row, before in zip_longest(rows, known) if row is not None and row != before]
        if not changed and not told and spend == self._spend and finish == self._finish:
            return
        connection = _connect(self._path, patience_s)
        try:
            connection.begin()
            _create_tables(connection, anew=not self._written)
            _upsert(connection, "experiments", [experiment_row(e, tree.statistics[e.id]) for e in changed])
            _upsert(connection, "trials", [trial_row(e, t) for e in fresh for t in e.trials])
            _upsert_metrics(connection, metric_rows(fresh, finish))
            _insert_predictions(connection, self._run, fresh)
            _replace_spend(connection, fresh, tree, spend)
            _upsert(connection, "calls", told)
            _replace_model_spend(connection, model_spend_rows(calls))
            connection.commit()
        finally:
            connection.close()
        self._last_write = time.monotonic()
        self._written |= {e.id: (e, tree.statistics[e.id]) for e in changed}
        self._spend, self._finish, self._call_rows = spend, finish, rows

    def _is_written(self, experiment: Experiment, statistics: NodeStatistics) -> bool:
        known = self._written.get(experiment.id)
        # Identity first: a tree shares the nodes that did not change, and comparing them all would cost
        # more than writing the new ones.
        return (
            known is not None
            and known[1] == statistics
            and (known[0] is experiment or known[0] == experiment)
        )


def connect_readonly(path: Path, patience_s: float = 2.0) -> duckdb.DuckDBPyConnection:
    """Open a store to query it, and for nothing else: no writes, no other files, no network, no settings.

    While the connection is open the run's own writes wait, so close it after the query. Raises InputError if
    there is no store, TrexError if it is being written for longer than `patience_s`.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist: `trex report` on its run directory writes it")
    try:
        return _connect(path, patience_s, read_only=True)
    except duckdb.Error as error:
        raise TrexError(f"{path} cannot be opened now ({str(error).splitlines()[0]}): try again") from error


def _connect(path: Path, patience_s: float, *, read_only: bool = False) -> duckdb.DuckDBPyConnection:
    """Open the file, waiting while another process or connection holds it. Raises duckdb.Error."""
    config: dict[str, str | bool | int | float | list[str]] = {"threads": 1}
    if read_only:
        config |= {"enable_external_access": False, "lock_configuration": True}
    until = time.monotonic() + patience_s
    while True:
        try:
            return duckdb.connect(str(path), read_only=read_only, config=config)
        except (duckdb.IOException, duckdb.ConnectionException) as error:
            if "not a valid DuckDB" in str(error) and not read_only:
                LOG.warning("%s is damaged and is written anew", path)
                path.unlink()
                path.with_name(f"{path.name}.wal").unlink(missing_ok=True)
            elif time.monotonic() >= until:
                raise
            else:
                time.sleep(RETRY_EVERY_S)


def _create_tables(connection: duckdb.DuckDBPyConnection, *, anew: bool) -> None:
    """Make the tables that are missing; `anew`, with every row about to be written, those of another version too."""
    if anew:
        there: dict[str, list[str]] = {}
        for table, column in connection.execute(
            "SELECT table_name, column_name FROM duckdb_columns() WHERE NOT internal ORDER BY column_index"
        ).fetchall():
            there.setdefault(table, []).append(column)
        for table, (columns, _) in TABLES.items():
            if table in there and there[table] != list(columns):
                connection.execute(f"DROP TABLE {table}")
    for table, (columns, constraint) in TABLES.items():
        spelled = ", ".join(f'"{name}" {kind}' for name, kind in columns.items())
        connection.execute(
            f"CREATE TABLE IF NOT EXISTS {table} ({spelled}{', ' + constraint if constraint else ''})"
        )


def _rows_as_table(columns: dict[str, str]) -> str:
    """SQL that turns one JSON parameter, a list of objects, into rows: one statement for any number."""
    return f"SELECT unnest(from_json(?::JSON, '{json.dumps([columns])}'), recursive := true)"


def _upsert(connection: duckdb.DuckDBPyConnection, table: str, rows: Sequence[Row]) -> None:
    if rows:
        columns, _ = TABLES[table]
        connection.execute(
            f"INSERT OR REPLACE INTO {table} BY NAME {_rows_as_table(columns)}", [json.dumps(rows)]
        )


def _upsert_metrics(connection: duckdb.DuckDBPyConnection, rows: Sequence[Row]) -> None:
    """A trial shared by two experiments may have gone further in one of them: the larger evaluation stays."""
    widest: dict[tuple[str, str, str], Row] = {}
    for row in rows:
        key = (row["trial_id"], row["split"], row["name"])
        if key not in widest or widest[key]["n"] <= row["n"]:
            widest[key] = row
    if widest:
        connection.execute(
            f"INSERT INTO metrics BY NAME {_rows_as_table(METRICS)} "
            "ON CONFLICT DO UPDATE SET value = excluded.value, n = excluded.n, "
            "ci_low = excluded.ci_low, ci_high = excluded.ci_high WHERE excluded.n >= metrics.n",
            [json.dumps(list(widest.values()))],
        )


def _insert_predictions(
    connection: duckdb.DuckDBPyConnection, run: Path, experiments: Iterable[Experiment]
) -> None:
    """Predictions on `search`, once for each evaluation: they never change."""
    files: dict[str, Row] = {}
    for trial, evaluation in evaluations(experiments):
        refuse_test(evaluation)
        path = run / evaluation.predictions if evaluation.predictions else None
        if path is not None and path.is_file() and evaluation.id not in files:
            files[evaluation.id] = {"id": evaluation.id, "trial": trial, "path": str(path)}
    if not files:
        return
    known = connection.execute(
        "SELECT DISTINCT evaluation_id FROM predictions WHERE list_contains(?, evaluation_id)", [list(files)]
    ).fetchall()
    for (evaluation_id,) in known:
        del files[evaluation_id]
    if files:
        connection.execute(
            f"WITH files AS ({_rows_as_table({'id': 'VARCHAR', 'trial': 'VARCHAR', 'path': 'VARCHAR'})}) "
            "INSERT INTO predictions SELECT files.id, files.trial, rows.id, rows.prediction, rows.value "
            "FROM read_json(?, format = 'newline_delimited', filename = 'path', "
            "columns = {id: 'VARCHAR', prediction: 'VARCHAR', value: 'DOUBLE'}) AS rows "
            "JOIN files USING (path)",
            [json.dumps(list(files.values())), [file["path"] for file in files.values()]],
        )


def _replace_spend(
    connection: duckdb.DuckDBPyConnection, fresh: Sequence[Experiment], tree: Tree, spend: Spend | None
) -> None:
    """Seconds by trial, and under no trial what no trial accounts for: a kind's rows sum to the run's."""
    if fresh:
        connection.execute(
            "DELETE FROM spend WHERE list_contains(?, experiment_id) AND kind <> ?",
            [[e.id for e in fresh], MODEL],
        )
    rows: list[Row] = [
        {"experiment_id": e.id, "trial_id": t.id, "kind": kind, "seconds": seconds}
        for e in fresh
        for t in e.trials
        for kind, seconds in trial_seconds(t).items()
        if seconds
    ]
    if spend is not None:
        connection.execute("DELETE FROM spend WHERE experiment_id IS NULL AND kind <> ?", [MODEL])
        left = {kind: seconds for kind, seconds in spend.by_kind.items() if kind != MODEL}
        for experiment in tree:
            for trial in experiment.trials:
                for kind, seconds in trial_seconds(trial).items():
                    left[kind] -= seconds
        rows += [
            {"experiment_id": None, "trial_id": None, "kind": kind, "seconds": round(seconds, 6)}
            for kind, seconds in left.items()
            if seconds > 1e-6
        ]
    _insert_spend(connection, rows)


def _replace_model_spend(connection: duckdb.DuckDBPyConnection, rows: Sequence[Row]) -> None:
    """What chat models took, from the record of calls, whose rows are few."""
    connection.execute("DELETE FROM spend WHERE kind = ?", [MODEL])
    _insert_spend(connection, rows)


def _insert_spend(connection: duckdb.DuckDBPyConnection, rows: Sequence[Row]) -> None:
    if rows:
        free: Row = {"trial_id": None, "tokens_in": 0, "tokens_out": 0, "cost_usd": 0.0}
        whole = [free | row for row in rows]
        connection.execute(f"INSERT INTO spend BY NAME {_rows_as_table(SPEND)}", [json.dumps(whole)])
