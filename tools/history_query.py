"""The process behind the history tool: it answers one query and ends.

It copies what may be seen into a database in memory, shuts that off from files, network, extensions and
settings, and only then looks at the SQL. Its memory is bounded by the system, because DuckDB's own limit does
not count what some functions allocate (seen: `range` and `repeat` of a large number).
"""

from __future__ import annotations

import json
import resource
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import duckdb
from pydantic import BaseModel, Field

SECONDS = 5.0
"""A query may run so long."""

PATIENCE_S = 2.0
"""And wait so long for a store that is being written."""

_MEMORY = "512MB"
_ADDRESS_SPACE = 2 * 2**30  # bytes: DuckDB's own limit, its code, and room for what it does not count
_LONGEST_VALUE = 2_000  # characters

Columns = dict[str, str]
"""Names and DuckDB types of a table's columns."""

PAST_TABLES = ("experiments", "trials")
"""Tables of other runs that are shown, as `past_experiments` and `past_trials`."""

_ORIGIN: Columns = {"run": "VARCHAR", "task": "VARCHAR", "base_model": "VARCHAR", "metric": "VARCHAR"}

# The only rows that a Researcher may know of. The rest, `confirm` first of all, stays where it is.
_VISIBLE = {
    "metrics": "WHERE split = 'search'",
    "predictions": "WHERE item_id IN (SELECT unnest(?::VARCHAR[]))",
}


def shown_tables(tables: Mapping[str, Columns]) -> dict[str, Columns]:
    """Every table that a query sees: those of the run, and the past ones with the origin of a row."""
    past = {f"past_{name}": _ORIGIN | tables[name] for name in PAST_TABLES if name in tables}
    return {**tables, **past}


class Store(BaseModel):
    """Another run's store, and where it comes from."""

    path: str
    run: str
    task: str = ""
    base_model: str = ""
    metric: str = ""


class Query(BaseModel):
    """What this process is asked."""

    sql: str
    most: int = Field(ge=1)
    store: str | None
    tables: dict[str, Columns] = Field(description="Tables of a store that may be read")
    others: list[Store] = Field(default_factory=list)
    items: list[str] = Field(default_factory=list)


class Answer(BaseModel):
    """Rows (one more than asked for, if there are more), or why there are none."""

    columns: list[str] = Field(default_factory=list)
    rows: list[list[Any]] = Field(default_factory=list)
    left_out: list[str] = Field(default_factory=list)
    error: str | None = None


def answer(query: Query) -> Answer:
    """Copy, lock, run. Every fault of the query is an `error` in one line."""
    connection = duckdb.connect(":memory:", config={"threads": 1})
    try:
        left_out = _copy(connection, query)
        _lock(connection)
        found = _rows(connection, query)
    except (duckdb.Error, RuntimeError, MemoryError) as error:  # RuntimeError: interrupted while binding
        return Answer(error=_reason(error))
    finally:
        connection.close()
    return found.model_copy(update={"left_out": left_out})


def _copy(connection: duckdb.DuckDBPyConnection, query: Query) -> list[str]:
    """Fill the tables; a store of another run that can't be read is left out and named."""
    left_out = []
    for name, columns in shown_tables(query.tables).items():
        spelled = ", ".join(f'"{column}" {kind}' for column, kind in columns.items())
        connection.execute(f"CREATE TABLE {name} ({spelled})")
    if query.store is not None:
        _attach(connection, query.store)
        for name in query.tables:
            given = [query.items] if name == "predictions" else []
            _insert(connection, name, query.tables[name], name, _VISIBLE.get(name, ""), given)
        connection.execute("DETACH source")
    for other in query.others:
        origin = [other.run, other.task, other.base_model, other.metric]
        try:
            _attach(connection, other.path)
            for name in PAST_TABLES:
                _insert(connection, name, query.tables.get(name, {}), f"past_{name}", "", origin)
        except duckdb.Error as error:
            left_out.append(f"run {other.run}: {_reason(error)}")
        with suppress(duckdb.Error):
            connection.execute("DETACH source")
    return left_out


def _insert(
    connection: duckdb.DuckDBPyConnection,
    source: str,
    columns: Columns,
    target: str,
    condition: str,
    given: list[Any],
) -> None:
    """Copy the columns that the source has: a store of another version may lack some."""
    found = connection.execute(
        "SELECT column_name FROM duckdb_columns() WHERE database_name = 'source' AND table_name = ?", [source]
    ).fetchall()
    listed = ", ".join(f'"{column}"' for column in columns if (column,) in found)
    origin = "".join(f"? AS {name}, " for name in _ORIGIN) if target != source else ""
    connection.execute(
        f"INSERT INTO {target} BY NAME SELECT {origin}{listed} FROM source.{source} {condition}", given
    )


def _attach(connection: duckdb.DuckDBPyConnection, path: str) -> None:
    """Open a store read-only as `source`, waiting a little while it is being written."""
    spelled = path.replace("'", "''")
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            connection.execute(f"ATTACH '{spelled}' AS source (READ_ONLY)")
            return
        except duckdb.IOException as error:
            if "lock" not in str(error) or time.monotonic() >= until:  # what is damaged or missing stays so
                raise
            time.sleep(0.05)


def _lock(connection: duckdb.DuckDBPyConnection) -> None:
    for setting in (
        f"memory_limit = '{_MEMORY}'",
        "temp_directory = ''",
        "autoinstall_known_extensions = false",
        "autoload_known_extensions = false",
        "allow_community_extensions = false",
        "enable_external_access = false",
        "lock_configuration = true",
    ):
        connection.execute(f"SET {setting}")


def _rows(connection: duckdb.DuckDBPyConnection, query: Query) -> Answer:
    statements = duckdb.extract_statements(query.sql)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        kinds = ", ".join(statement.type.name for statement in statements) or "nothing"
        return Answer(error=f"one SELECT statement is allowed, found {kinds}; ask one question at a time")
    timer = threading.Timer(SECONDS, connection.interrupt)
    timer.start()
    try:
        # The limit is put around the statement, so that no more rows than can be shown are ever made.
        relation = connection.sql(statements[0].query).limit(query.most + 1)
        rows = relation.fetchall()
    finally:
        timer.cancel()
    return Answer(columns=relation.columns, rows=[[_plain(value) for value in row] for row in rows])


def _plain(value: Any) -> Any:
    """A value as JSON can hold it, and not too long."""
    if value is None or isinstance(value, bool | int | float):
        return value if not isinstance(value, float) or abs(value) < float("inf") else str(value)
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    return str(value)[:_LONGEST_VALUE]


def _reason(error: Exception) -> str:
    """What DuckDB says, in one line, without the picture of the statement."""
    if isinstance(error, duckdb.InterruptException) or "Interrupted" in str(error):
        return f"it took longer than {SECONDS:.0f} s and was stopped; ask for less"
    if isinstance(error, MemoryError | duckdb.OutOfMemoryException):
        return f"it needs more than {_MEMORY} of memory; aggregate, or join fewer rows"
    text = str(error).split("\n\nLINE ")[0]
    return " ".join(text.split())[:500] or type(error).__name__


def main() -> None:
    """Read a Query from standard input, write an Answer to standard output."""
    with suppress(ValueError, OSError):  # not every system can bound it
        resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE, _ADDRESS_SPACE))
    found = answer(Query.model_validate(json.loads(sys.stdin.read())))
    sys.stdout.write(found.model_dump_json())


if __name__ == "__main__":
    main()
