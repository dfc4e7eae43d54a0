"""Where LangGraph keeps the graph's state: a SQLite file of the run directory, or a PostgreSQL server.

`TREX_CHECKPOINT=postgresql://user@host/database` chooses the server for new runs (extra `postgres`). The address may
hold a password, so it is in no file of the run: it has to be set wherever the run is resumed or looked at.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Literal

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.sqlite import SqliteSaver

from ...errors import InputError, TrexError
from ...files import FileLocksMissing
from .directory import RunDirectory
from .settings import Settings

ADDRESS = "TREX_CHECKPOINT"
_SCHEMES = ("postgresql://", "postgres://")
_CONNECTIONS = 4
_PATIENCE = 15.0


def checkpoint_kind() -> Literal["sqlite", "postgres"]:
    """Where the state of new runs is kept. Raises InputError for an address of something else."""
    address = os.environ.get(ADDRESS, "")
    if address in ("", "sqlite"):
        return "sqlite"
    if not address.startswith(_SCHEMES):
        raise InputError(
            f"{ADDRESS} is neither 'sqlite' nor the address of a server: write postgresql://user@host/name"
        )
    return "postgres"


@contextmanager
def checkpointer(directory: RunDirectory, settings: Settings) -> Iterator[BaseCheckpointSaver[Any]]:
    """The run's checkpointer. Raises InputError and TrexError where it cannot be opened."""
    if settings.checkpoint == "postgres":
        with _postgres() as store:
            yield store
    else:
        with closing(connect(directory)) as connection:
            yield saver(connection)


def check_checkpoint(settings: Settings) -> None:
    """Raises InputError if a run's server cannot be reached."""
    if settings.checkpoint == "postgres":
        with _postgres():
            return


def explain_database_error(error: BaseException | None) -> TrexError | None:
    """One line for a server that went away during a run; None for other errors."""
    while error is not None:
        if type(error).__module__.partition(".")[0] in ("psycopg", "psycopg_pool"):
            reason = " ".join(str(error).split())[:200]
            return TrexError(
                f"the PostgreSQL server of {ADDRESS} failed ({reason}): `trex resume` when it is back"
            )
        error = error.__cause__ or error.__context__
    return None


@contextmanager
def _postgres() -> Iterator[BaseCheckpointSaver[Any]]:
    """A saver on a pool, which connects again after the server was restarted."""
    try:
        from langgraph.checkpoint.postgres import PostgresSaver
        from psycopg import ProgrammingError
        from psycopg.conninfo import conninfo_to_dict
        from psycopg.rows import dict_row
        from psycopg_pool import ConnectionPool, PoolTimeout
    except ImportError as error:
        raise InputError(
            f"{ADDRESS}: a PostgreSQL server needs more packages: pip install 'trex-finetune[postgres]'"
        ) from error
    if checkpoint_kind() != "postgres":
        raise InputError(
            f"this run's state is on a PostgreSQL server: set {ADDRESS} to its address, as it was"
        )
    try:
        conninfo_to_dict(os.environ[ADDRESS])
    except ProgrammingError:  # its text shows parts of the address
        raise InputError(
            f"{ADDRESS} cannot be read: write postgresql://user@host/name; in a password a % is written %25"
        ) from None
    options = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
    pool: Any = ConnectionPool(
        os.environ[ADDRESS],
        kwargs=options,
        min_size=1,
        max_size=_CONNECTIONS,
        open=False,
        check=ConnectionPool.check_connection,
        timeout=_PATIENCE,
    )
    try:
        pool.open(wait=True, timeout=_PATIENCE)
    except PoolTimeout as error:
        pool.close()
        raise InputError(f"no PostgreSQL server answers at {ADDRESS} within {_PATIENCE:.0f} s") from error
    try:
        store = PostgresSaver(pool, serde=_serde())
        store.setup()
        yield store
    finally:
        pool.close()


def connect(directory: RunDirectory) -> sqlite3.Connection:
    """Open the checkpoint database. Raises TrexError if it is none."""
    path = directory.checkpoints
    if path.exists() and not path.is_file():
        raise TrexError(f"{path} cannot be opened: it is no regular file")
    try:
        return _opened(path)
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_IOERR):
            raise FileLocksMissing(path, str(error)) from error
        raise TrexError(
            f"{path} cannot be opened ({error}): if it is damaged, begin the run anew with "
            "another --out; trials that are finished are not trained again"
        ) from error


def _opened(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, check_same_thread=False, timeout=30)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        # Nothing that was committed is lost when a process is killed. A power cut may cost the last steps, which
        # are then done again; a sync at every step would cost more than all of TREX's own work.
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA wal_autocheckpoint=8000")  # pages: folding the log in waits for the disk
    except sqlite3.DatabaseError:
        connection.close()
        raise
    return connection


def saver(connection: sqlite3.Connection) -> SqliteSaver:
    """A checkpointer that revives plain data only: no pickles, no classes."""
    return SqliteSaver(connection, serde=_serde())


def _serde() -> JsonPlusSerializer:
    return JsonPlusSerializer(pickle_fallback=False, allowed_json_modules=None, allowed_msgpack_modules=None)
