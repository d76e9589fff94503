"""The database itself: transactions, and the schema brought up to date."""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import alembic.command
import alembic.config
import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from node.errors import ConfigError, Superseded
from node.ledger import schema
from node.ledger.clock import now
from node.ledger.connections import open_ledger_pool
from node.ledger.fixed import fetch

DEAD_AFTER_S = 30.0
"""A node whose heartbeat is older is taken for dead."""

_TRACES = (schema.node, schema.study)
"""What each node that has run leaves, and what is there of who wrote rows without one."""

_MIGRATION_LOCK = int.from_bytes(b"ai-node", "big")


def migrations() -> alembic.config.Config:
    """Return where Alembic finds our migrations."""
    settings = alembic.config.Config()
    settings.set_main_option("script_location", str(Path(schema.__file__).parent / "migrations"))
    return settings


class OutcomeUnknown(sa.exc.OperationalError):
    """COMMIT was answered by an error: whether what was written is there, nobody can say yet."""


_AFTER_COMMIT = "after commit"


def after_commit(db: sa.Connection, do: Callable[[], None]) -> None:
    """Have something done once a transaction of `Ledger.writing` is committed, else not.

    It must not fail: what was written is there.
    """
    db.info[_AFTER_COMMIT].append(do)


@contextmanager
def unless_recorded(remove: Callable[[], None]) -> Iterator[None]:
    """Call `remove` for what the block was to record, if it surely has not.

    Where that is unknown it stays: `inventory` looks for files without rows later.
    """
    try:
        yield
    except OutcomeUnknown:
        raise
    except BaseException:
        with contextlib.suppress(OSError):
            remove()
        raise


class Ledger:
    """The database. Safe to use from many threads, as are the parts that are made of it."""

    def __init__(self, url: str, *, dead_after_s: float = DEAD_AFTER_S) -> None:
        self.dead_after_s = dead_after_s
        self._engine = open_ledger_pool(url)
        self._writer = self._engine.execution_options(is_write=True)
        self._turn = threading.Lock()

    # Life ---------------------------------------------------------------------------------

    def migrate(self) -> None:
        """Bring the schema up to date; of nodes that start at once, one does and others wait.

        Raises ConfigError if nodes of the former release have to be stopped before.
        """
        settings = migrations()
        with self.writing(even_if_moved=True) as db:
            if db.dialect.name == "postgresql":  # SQLite has only one writer anyway
                db.execute(sa.text("SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0"))
                db.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
            if _needs_all_stopped(db, settings):
                _refuse_beside_others(db, self.dead_after_s)
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
    def is_there(self) -> bool:
        """Whether it has tables."""
        with self.reading() as db:
            return sa.inspect(db).has_table(schema.installation.name)

    @property
    def has_run(self) -> bool:
        """Whether a node has ever run on it, of whichever release."""
        with self.reading() as db:
            if not sa.inspect(db).has_table(schema.node.name):
                return False
            rows = (sa.select(sa.literal(1)).select_from(table).limit(1) for table in _TRACES)
            return any(db.execute(query).first() is not None for query in rows)

    @property
    def has_one_writer(self) -> bool:
        """Whether one transaction that writes keeps all others waiting, whatever they write."""
        return self._engine.dialect.name == "sqlite"

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
    def asking(self) -> Iterator[sa.Connection]:
        """Open a connection for one question by `Fixed`, which needs no transaction around it."""
        with self._engine.connect() as db:
            yield db

    @contextmanager
    def writing(self, *, even_if_moved: bool = False) -> Iterator[sa.Connection]:
        """Open a transaction that may write: on SQLite the only one, from its beginning.

        Raises OutcomeUnknown if COMMIT fails; after any other error nothing is written. One of them
        is Superseded: the ledger has moved, as of a process that waited for the move to end.
        `even_if_moved`: for the move itself, and where tables are not those of this release.
        """
        # SQLite lets writers of one process compete without a queue, and gives up on the unlucky.
        turn = self._turn if self.has_one_writer else contextlib.nullcontext()
        is_to_commit = False
        to_do: list[Callable[[], None]] = []
        try:
            with turn, self._writer.begin() as db:
                db.info[_AFTER_COMMIT] = to_do
                yield db
                if not even_if_moved:
                    _require_not_moved(db)
                is_to_commit = True
        except sa.exc.DBAPIError as error:
            if is_to_commit:
                raise OutcomeUnknown(None, None, error.orig or error) from error
            raise
        for do in to_do:
            do()


def _require_not_moved(db: sa.Connection) -> None:
    """Raise Superseded if whatever is written here nobody will ever read.

    Last in a transaction: on a server the move may have kept its first statement waiting.
    """
    query = f"SELECT moved_to FROM {schema.installation.name}"  # noqa: S608 - our own name
    for (moved_to,) in fetch(db, query):
        if moved_to is not None:
            raise Superseded(
                f"this ledger has moved to {moved_to} and is as it was then; nothing was changed "
                "in it. Name that one in [node] database"
            )


def _needs_all_stopped(db: sa.Connection, settings: alembic.config.Config) -> bool:
    """Return whether a migration is to come that cannot run beside nodes of the former release."""
    found = MigrationContext.configure(db).get_current_revision()
    if found is None:  # nobody has run on it
        return False
    to_come = ScriptDirectory.from_config(settings).iterate_revisions("head", found)
    return any(getattr(one.module, "NEEDS_ALL_STOPPED", False) for one in to_come)


def _refuse_beside_others(db: sa.Connection, dead_after_s: float) -> None:
    """Raise ConfigError if a node is alive. None starts meanwhile: it would wait to migrate."""
    # As it is there, not as it is declared: the first release knew no places.
    table = sa.Table(schema.node.name, sa.MetaData(), autoload_with=db)
    query = sa.select(table).where(table.c.stopped_at.is_(None))
    rows = db.execute(query.where(table.c.beat_at > now() - dead_after_s)).mappings()
    places = sorted((row.get("place") or row["id"]).rpartition(" ")[0] or row["id"] for row in rows)
    if places:
        raise ConfigError(
            f"this release changes the ledger, for which all nodes on it have to be stopped; still "
            f"alive: {', '.join(places)}. Stop them, install this release on their machines, and "
            f"start again; one that was killed counts as alive for {dead_after_s:g} s"
        )
