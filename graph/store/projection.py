"""The experiment store: `experiments.duckdb`, a projection of the tree to query with SQL.

It holds nothing that is not in the checkpoint, in the predictions of `search` or in the record of calls. It
may be late, missing or damaged: writing it again repairs it. DuckDB lets one process write or many
read: the file is opened for each write and closed, and a write that finds it held by a reader waits a little,
then leaves its rows to the next one. Rows of the test split are refused.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path

import duckdb

from ...errors import InputError, TrexError
from ..finish.finish_record import FinishRecord
from ..report.call_totals import read_run_calls
from ..report.spend import Spend
from ..report.summary import summarise_experiment
from ..tree.experiment import Experiment
from ..tree.tree import Tree
from .tables import (
    PREDICTIONS,
    TABLES,
    Row,
    call_rows,
    evaluations,
    experiment_row,
    metric_rows,
    refuse_test,
    spend_rows,
    trial_rows,
)

RETRY_EVERY_S = 0.05
_DAMAGED = ("not a valid DuckDB", "Corrupt", "could not read enough bytes", "version number")
LOG = logging.getLogger(__name__)


class Projector:
    """Writes a run's tree to its DuckDB file.

    `run` is the run directory, to which evaluations' predictions are relative and which holds the record of
    calls. Every write replaces all tables except `predictions`, to which it adds rows. Rounds that end within
    `every_s` of a write are part of the next one.
    """

    def __init__(self, path: Path, run: Path, every_s: float = 15.0) -> None:
        self._path, self._run, self._every_s = path, run, every_s
        self._last_write = float("-inf")

    @property
    def due(self) -> bool:
        """Whether the last write is long enough ago."""
        return time.monotonic() - self._last_write >= self._every_s

    def project(
        self,
        tree: Tree,
        spend: Spend | None = None,
        finish: FinishRecord | None = None,
        *,
        last: bool = False,
        patience_s: float | None = None,
    ) -> bool:
        """Bring the file up to date in one transaction; False if it was not written now.

        What is skipped is written the next time, and said. At the run's end (`last`) it writes at once, and
        waits longer for other holders of the file (10 s instead of half a second, or `patience_s`).
        """
        if not last and not self.due:
            return False
        patience = patience_s if patience_s is not None else 10.0 if last else 0.5
        try:
            self._write(tree, spend, finish, patience)
        except duckdb.Error as error:
            again = "the next round writes it again"
            if last:
                again = f"close the program that has it open, then `trex report {self._run}` writes it"
            LOG.warning("%s is not up to date (%s): %s", self._path.name, _first_line(error), again)
            return False
        return True

    def rebuild(
        self,
        tree: Tree,
        spend: Spend | None = None,
        finish: FinishRecord | None = None,
        patience_s: float = 10.0,
    ) -> None:
        """Write the file from nothing. Raises TrexError if another process has it open for so long."""
        try:
            _connect(self._path, patience_s).close()  # waits for others; a damaged file is removed
            self._path.unlink()
            self._write(tree, spend, finish, patience_s)
        except duckdb.Error as error:
            raise TrexError(
                f"{self._path} could not be written ({_first_line(error)}): close the program that has it open, "
                f"then `trex report {self._run}` writes it"
            ) from error

    def _write(self, tree: Tree, spend: Spend | None, finish: FinishRecord | None, patience_s: float) -> None:
        experiments, calls = list(tree), read_run_calls(self._run / "calls.jsonl")
        summaries = [summarise_experiment(e, tree.statistics[e.id]) for e in experiments]
        rows: dict[str, list[Row]] = {
            "experiments": [experiment_row(summary) for summary in summaries],
            "trials": [row for summary in summaries for row in trial_rows(summary)],
            "metrics": metric_rows(experiments, finish),
            "spend": spend_rows(experiments, spend, calls),
            "calls": call_rows(calls),
        }
        with closing(_connect(self._path, patience_s)) as connection:
            connection.begin()
            for table, content in rows.items():
                _replace_table(connection, table, content)
            _add_predictions(connection, self._run, experiments)
            connection.commit()
        self._last_write = time.monotonic()


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
        raise TrexError(
            f"{path} cannot be opened now ({_first_line(error)}): try again, or `trex report` writes it anew"
        ) from error


def _first_line(error: duckdb.Error) -> str:
    return str(error).splitlines()[0]


def _connect(path: Path, patience_s: float, *, read_only: bool = False) -> duckdb.DuckDBPyConnection:
    """Open the file, waiting while another process or connection holds it. Raises duckdb.Error and InputError."""
    if os.path.lexists(path) and not path.is_file():
        raise InputError(f"{path} is no regular file: remove it, and `trex report` writes it again")
    config: dict[str, str | bool | int | float | list[str]] = {"threads": 1}
    if read_only:
        config |= {"enable_external_access": False, "lock_configuration": True}
    until = time.monotonic() + patience_s
    while True:
        try:
            return duckdb.connect(str(path), read_only=read_only, config=config)
        except duckdb.Error as error:
            damaged = not isinstance(error, duckdb.IOException | duckdb.ConnectionException)
            damaged |= any(sign in str(error) for sign in _DAMAGED)
            if damaged and not read_only:
                LOG.warning("%s is damaged and is replaced", path)
                path.unlink()
                path.with_name(f"{path.name}.wal").unlink(missing_ok=True)
            elif damaged or time.monotonic() >= until:
                raise
            else:
                time.sleep(RETRY_EVERY_S)


def _replace_table(connection: duckdb.DuckDBPyConnection, table: str, rows: Sequence[Row]) -> None:
    connection.execute(f"CREATE OR REPLACE {_definition(table)}")
    if rows:
        columns, _ = TABLES[table]
        connection.execute(f"INSERT INTO {table} BY NAME {_rows_as_table(columns)}", [json.dumps(rows)])


def _definition(table: str) -> str:
    columns, constraint = TABLES[table]
    spelled = ", ".join(f'"{name}" {kind}' for name, kind in columns.items())
    return f"TABLE {table} ({spelled}{', ' + constraint if constraint else ''})"


def _rows_as_table(columns: dict[str, str]) -> str:
    """SQL that turns one JSON parameter, a list of objects, into rows: one statement for any number."""
    return f"SELECT unnest(from_json(?::JSON, '{json.dumps([columns])}'), recursive := true)"


def _add_predictions(
    connection: duckdb.DuckDBPyConnection, run: Path, experiments: Iterable[Experiment]
) -> None:
    """Predictions on `search`, once for each evaluation: they never change, and they are most of the rows."""
    columns = connection.execute(
        "SELECT column_name FROM duckdb_columns() WHERE table_name = 'predictions' ORDER BY column_index"
    ).fetchall()
    if [name for (name,) in columns] != list(PREDICTIONS):
        connection.execute(f"CREATE OR REPLACE {_definition('predictions')}")
    files: dict[str, Row] = {}
    for trial, evaluation in evaluations(experiments):
        refuse_test(evaluation)
        path = run / evaluation.predictions if evaluation.predictions else None
        if path is not None and path.is_file() and evaluation.id not in files:
            files[evaluation.id] = {"id": evaluation.id, "trial": trial, "path": str(path)}
    for (known,) in connection.execute("SELECT DISTINCT evaluation_id FROM predictions").fetchall():
        files.pop(known, None)
    if files:
        connection.execute(
            f"WITH files AS ({_rows_as_table({'id': 'VARCHAR', 'trial': 'VARCHAR', 'path': 'VARCHAR'})}) "
            "INSERT INTO predictions SELECT files.id, files.trial, rows.id, rows.prediction, rows.value "
            "FROM read_json(?, format = 'newline_delimited', filename = 'path', "
            "columns = {id: 'VARCHAR', prediction: 'VARCHAR', value: 'DOUBLE'}) AS rows "
            "JOIN files USING (path)",
            [json.dumps(list(files.values())), [file["path"] for file in files.values()]],
        )
