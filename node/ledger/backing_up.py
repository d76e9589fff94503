"""What a backup needs of the ledger: that no file goes meanwhile, a snapshot, and that it is whole.

A snapshot is a SQLite file with our tables and nobody running on it, whatever the ledger is.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from node.errors import NodeError
from node.ledger import schema
from node.ledger.clock import now, utc
from node.ledger.copying import copy_ledger, end_copy
from node.ledger.database import Ledger

LEASE_S = 300.0
"""So long after the last word of a backup that copies no file goes; a killed one costs no more."""
_ROWS_AT_ONCE = 1000
_OWN = frozenset((*schema.metadata.tables, "alembic_version"))


@dataclass(frozen=True, slots=True)
class LastBackup:
    """The last backup that is whole."""

    began_at: float
    """Epoch seconds, UTC: what came later is not in it."""
    to: str
    """The machine that made it, and the folder."""


@dataclass(frozen=True, slots=True)
class NamedFile:
    """A file that a row says is in the store, and what it should hold."""

    path: str
    """Relative to the store."""
    digest: str
    """Of a received object the SHA-256 of its data set, of a result object that of the file."""

    @property
    def is_received(self) -> bool:
        """Whether it came to us; else we made it."""
        return self.path.startswith("received/")


@dataclass(frozen=True, slots=True)
class BackingUp:
    """One backup of a ledger at a time."""

    ledger: Ledger

    def begin(self, to: str) -> float:
        """Let no file of the store go, for `LEASE_S` or as long as `renew` is called; return when.

        Whoever calls holds the lock of the folder, so that a former one to it has died. Raises
        NodeError while another copies to somewhere else.
        """
        table = schema.installation
        with self.ledger.writing() as db:
            row = db.execute(sa.select(table, now().label("at")).with_for_update()).one()
            is_other = row.backup_to != to and (row.backup_until or 0) > row.at
            if is_other:
                raise NodeError(
                    f"another backup of this node is being made, to {row.backup_to}; wait until it "
                    f"has ended. If it was killed, that is known at {utc(row.backup_until):%H:%M} "
                    "UTC"
                )
            db.execute(table.update().values(backup_until=now() + LEASE_S, backup_to=to))
            return float(row.at)

    def renew(self, to: str) -> bool:
        """Go on; return False if it has been silent for too long, and files may have gone."""
        table = schema.installation
        is_ours = (table.c.backup_to == to, table.c.backup_until > now())
        with self.ledger.writing() as db:
            renewed = table.update().where(*is_ours).values(backup_until=now() + LEASE_S)
            return bool(db.execute(renewed).rowcount)

    def end(self, to: str, whole_since: float | None = None) -> None:
        """Let files go again; record that all of it is there, if it began at a time."""
        table = schema.installation
        values: dict[str, Any] = {"backup_until": None, "backup_to": None}
        if whole_since is not None:
            values |= {"backed_up_at": whole_since, "backed_up_to": to}
        with self.ledger.writing() as db:
            db.execute(table.update().where(table.c.backup_to == to).values(values))

    def last(self) -> LastBackup | None:
        """Return the last backup that is whole, if there ever was one."""
        table = schema.installation
        with self.ledger.reading() as db:
            row = db.execute(sa.select(table.c.backed_up_at, table.c.backed_up_to)).first()
        if row is None or row.backed_up_at is None:
            return None
        return LastBackup(row.backed_up_at, row.backed_up_to or "")

    def size_bytes(self) -> int:
        """Return about how large a snapshot will be."""
        with self.ledger.reading() as db:
            if db.dialect.name == "postgresql":
                size = sa.text("SELECT pg_database_size(current_database())")
            else:
                size = sa.text(
                    "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
                )
            return int(db.execute(size).scalar_one())

    def snapshot(self, target: Path, to: str, began_at: float) -> None:
        """Write all tables as they are at one instant into a new SQLite file.

        In it the backup is the last whole one, and all nodes have stopped: whoever is started on
        it takes up what they were doing, which counts as a crash of nobody.
        """
        with self.ledger.reading() as db:
            if db.dialect.name == "postgresql":
                db.execute(sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"))
                _copy_from_server(db, target)
            else:
                _copy_file(db, target)
        with _opened(target) as db:
            _forget_who_ran(db)
            _forget_the_queue(db)
            whole = {"backed_up_at": began_at, "backed_up_to": to}
            nobody = {"backup_until": None, "backup_to": None}
            db.execute(schema.installation.update().values(whole | nobody))


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot that has been written."""

    path: Path

    def files(self) -> Iterator[NamedFile]:
        """Yield every file that its rows speak of, each once, in the order of their paths."""
        instance, former, report = schema.instance, schema.former_instance, schema.report
        parts = [
            sa.select(table.c.path, table.c.digest).where(table.c.removed_at.is_(None))
            for table in (instance, former, report)
        ]
        last = ""
        with _opened(self.path) as db:
            rows = db.execution_options(yield_per=_ROWS_AT_ONCE).execute(
                sa.union_all(*parts).order_by("path")  # by its bytes, as SQLite compares
            )
            for path, digest in rows:
                if path != last:
                    last = path
                    yield NamedFile(path, digest)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[sa.Connection]:
    """Open a snapshot, which nobody else does: one file, without a log beside it."""
    engine = sa.create_engine(f"sqlite:///{path}")
    try:
        with engine.begin() as db:
            yield db
    finally:
        engine.dispose()


def _copy_file(db: sa.Connection, target: Path) -> None:
    source = db.connection.driver_connection
    assert isinstance(source, sqlite3.Connection)
    with contextlib.closing(sqlite3.connect(target)) as copy:
        source.backup(copy)  # in one step: who writes meanwhile neither waits nor is in it
        copy.execute("PRAGMA journal_mode=DELETE")


def _copy_from_server(db: sa.Connection, target: Path) -> None:
    """Copy all rows as they are when this begins; other transactions go on."""
    copy = Ledger(f"sqlite:///{target}")
    try:
        copy.migrate()
        copy_ledger(db, copy, lambda steps: None, name="the ledger that is backed up")
        end_copy(copy)
    finally:
        copy.close()
    with contextlib.closing(sqlite3.connect(target)) as file:
        file.execute("PRAGMA journal_mode=DELETE")


def _forget_who_ran(db: sa.Connection) -> None:
    node, association = schema.node, schema.association
    db.execute(node.update().where(node.c.stopped_at.is_(None)).values(stopped_at=now()))
    for table, states in schema.WORK.items():
        running = table.update().where(table.c.state == states.RUNNING)
        db.execute(running.values(state=states.QUEUED, owner=None))
    is_open = association.c.closed_at.is_(None)
    db.execute(association.update().where(is_open).values(closed_at=now()))


def _forget_the_queue(db: sa.Connection) -> None:
    """Drop what is not ours: the first sweep of a node enqueues anew what the ledger has."""
    for name in sa.inspect(db).get_table_names():
        if name not in _OWN:
            db.execute(sa.schema.DropTable(sa.Table(name, sa.MetaData())))
