"""The database itself: connections, transactions, clock, locks, schema."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import alembic.command
import alembic.config
import sqlalchemy as sa
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from node import schema
from node.ledger.clock import now


class Database:
    """The database. Safe to use from many threads."""

    def __init__(self, url: str) -> None:
        self._engine = _create_engine(url)
        self._writer = self._engine.execution_options(is_write=True)
        self._turn = threading.Lock()

    # Life ---------------------------------------------------------------------------------

    def migrate(self) -> None:
        """Bring the schema up to date."""
        settings = alembic.config.Config()
        settings.set_main_option(
            "script_location", str(Path(schema.__file__).parent / "migrations")
        )
        with self.writing() as db:
            settings.attributes["connection"] = db
            alembic.command.upgrade(settings, "head")
            if db.execute(sa.select(schema.installation.c.id)).first() is None:
                db.execute(
                    schema.installation.insert().values(id=str(uuid.uuid4()), created_at=now())
                )

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    @property
    def installation(self) -> str:
        """The identity of this installation."""
        with self.reading() as db:
            return str(db.execute(sa.select(schema.installation.c.id)).scalar_one())

    # Transactions -----------------------------------------------------------------------------

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """Open a transaction that only reads."""
        with self._engine.begin() as db:
            yield db

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """Open a transaction that may write: on SQLite the only one, from its beginning."""
        # SQLite lets writers of one process compete without a queue, and gives up on the unlucky.
        turn = self._turn if self._engine.dialect.name == "sqlite" else contextlib.nullcontext()
        with turn, self._writer.begin() as db:
            yield db


def _create_engine(url: str) -> sa.Engine:
    engine = sa.create_engine(url, hide_parameters=True)  # an error would quote them in the log
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _prepare_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    # The driver's own transaction control begins only at the first write, after the read that
    # the write depends on; without it the BEGIN below is really the beginning.
    connection.isolation_level = None
    for pragma in ("busy_timeout=5000", "synchronous=FULL", "foreign_keys=ON"):
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
    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_write else "BEGIN")
