"""Connections to SQLite and PostgreSQL, each with the promises that the ledger rests on."""

from __future__ import annotations

import sqlite3
import time
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from node.errors import ConfigError
from node.ledger.fixed import execute

_WAIT_S = 5
"""For a connection, a lock or a turn: peers give up after 30 s, so they must hear no before."""

_IDLE_IN_TRANSACTION = "25P03"
"""PostgreSQL's word for having ended a transaction in which nothing happened."""

_SQLITE_TROUBLE = frozenset(
    (
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_NOTADB,
    )
)
_SERVER_TROUBLE = ("08", "40", "53", "55", "57", "58", "XX", _IDLE_IN_TRANSACTION)
"""Classes of PostgreSQL's error codes: connection, rollback, resources, locks, intervention, ..."""

_NETWORK = {
    "application_name": "ai-node",
    "connect_timeout": _WAIT_S,
    # A server that has vanished from the network is noticed, not waited for.
    "tcp_user_timeout": _WAIT_S * 1000,
    "keepalives_idle": _WAIT_S,
    "keepalives_interval": 2,
    "keepalives_count": 3,
}

_SESSION = """
    SET lock_timeout = '5s';
    SET statement_timeout = '20s';
    SET idle_in_transaction_session_timeout = '15s';
    SELECT set_config('synchronous_commit', 'on', false)
    WHERE current_setting('synchronous_commit') = 'off'
"""
"""A frozen process lets go of its locks, and what was committed survives a power cut."""


def is_trouble(error: Exception) -> bool:
    """Whether an error tells of the database's state, such as a lock, and not of what we asked.

    What we asked would bring the same error again: with another state it may succeed.
    """
    if isinstance(error, sa.exc.TimeoutError):
        return True  # every connection is taken
    if not isinstance(error, sa.exc.DBAPIError):
        return False
    code = getattr(error.orig, "sqlite_errorcode", None)
    if code is not None:
        return code & 0xFF in _SQLITE_TROUBLE  # the rest says more precisely which
    state = getattr(error.orig, "sqlstate", None)
    if state is not None:
        return str(state).startswith(_SERVER_TROUBLE)
    return isinstance(error, (sa.exc.OperationalError, sa.exc.InterfaceError))


def open_ledger_pool(url: str) -> sa.Engine:
    """Open the ledger's own connections."""
    if url.startswith("postgresql:"):
        return open_server_pool(url, _SESSION, pool_size=15)
    engine = sa.create_engine(url, hide_parameters=True, pool_use_lifo=True)
    sa.event.listen(engine, "connect", _prepare_sqlite)
    sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def open_server_pool(url: str, session: str, *, pool_size: int) -> sa.Engine:
    """Open connections to PostgreSQL that begin with some SQL.

    They find out when the server has been away.
    """
    try:
        parsed = sa.make_url(url).set(drivername="postgresql+psycopg")
    except (sa.exc.ArgumentError, ValueError) as error:
        raise ConfigError(
            "[node] database is no address; write reserved characters in it as %XX"
        ) from error
    settings: dict[str, Any] = {
        name: value for name, value in _NETWORK.items() if name not in parsed.query
    }
    engine = sa.create_engine(
        parsed,
        connect_args=settings,
        hide_parameters=True,  # an error would quote them in the log
        max_overflow=0,
        pool_pre_ping=True,
        pool_size=pool_size,
        pool_timeout=_WAIT_S,
    )

    def prepare(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        cursor = connection.cursor()
        cursor.execute(session)
        cursor.close()
        connection.commit()  # or the first rollback would undo the settings

    sa.event.listen(engine, "connect", prepare)
    sa.event.listen(engine, "handle_error", _frozen_too_long, retval=True)
    return engine


def _frozen_too_long(context: sa.engine.ExceptionContext) -> BaseException | None:
    """Tell a process that was frozen in a transaction that its connection is gone, as it is.

    The driver calls this an internal error, which would look like a defect of ours.
    """
    error = context.original_exception
    if getattr(error, "sqlstate", None) == _IDLE_IN_TRANSACTION:
        return sa.exc.OperationalError(context.statement, None, error)
    return None


def _prepare_sqlite(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    # The driver's own transaction control begins only at the first write, after the read that
    # the write depends on; without it the BEGIN below is really the beginning.
    connection.isolation_level = None
    wait = f"busy_timeout={round(_WAIT_S * 1000)}"
    for pragma in (wait, "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")
    _use_wal(connection)


def _use_wal(connection: DBAPIConnection) -> None:
    """Switch a new file to write-ahead logging; SQLite does not wait for others who do the same."""
    for patience in range(50, -1, -1):
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError:
            if not patience:
                raise
            time.sleep(0.1)


def _begin_sqlite(connection: sa.Connection) -> None:
    is_write = connection.get_execution_options().get("is_write", False)
    execute(connection, "BEGIN IMMEDIATE" if is_write else "BEGIN")
