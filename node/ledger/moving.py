"""Whether a ledger is the one that counts: it may have moved, or be half a copy of another."""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa

from node.errors import ConfigError
from node.ledger import schema
from node.ledger.clock import now, utc
from node.ledger.copying import source_of_copy

_TABLE = schema.installation


def why_no_node_may_run(db: sa.Connection) -> str:
    """Return why this is not the ledger to work with, and which is; "" if it is."""
    row = db.execute(sa.select(_TABLE.c.moved_to, _TABLE.c.moved_at, _TABLE.c.moving)).one_or_none()
    if row is None:
        return ""
    if row.moving is not None:
        source = source_of_copy(row.moving)
        return (
            f"is to be a copy of {source}, and is not whole: run the command again that was "
            "broken off, or work with that one"
        )
    if row.moved_to is not None:
        return (
            f"has moved to {row.moved_to} ({utc(row.moved_at):%Y-%m-%d}) and is as it was then: "
            "name that one in [node] database"
        )
    return ""


def address_without_password(url: str) -> str:
    """Return a database's address as people may read it."""
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError) as error:
        raise ConfigError(
            "this is no address of a database: sqlite:////path or postgresql://user@host/name, "
            "with reserved characters as %XX"
        ) from error
    bare = sa.URL.create(
        parsed.drivername, parsed.username, None, parsed.host, parsed.port, parsed.database
    )
    query = {name: said for name, said in parsed.query.items() if "password" not in name}
    return bare.update_query_dict(query).render_as_string()


def has_password(url: str) -> bool:
    """Return whether an address of a database says a password."""
    parsed = sa.make_url(url)
    return parsed.password is not None or any("password" in name for name in parsed.query)


def keep_writers_away(db: sa.Connection) -> None:
    """Let nobody else write until this transaction ends; whoever wants to is told so.

    On SQLite a transaction that may write does so from its beginning.
    """
    if db.dialect.name == "postgresql":
        tables = ", ".join(table.name for table in schema.metadata.sorted_tables)
        db.execute(sa.text(f"LOCK TABLE {tables} IN EXCLUSIVE MODE"))


def places_alive(db: sa.Connection, dead: Collection[str], dead_after_s: float) -> list[str]:
    """Return where nodes are alive; `dead` are places of which it is known that nobody has them."""
    table = schema.node
    query = sa.select(table.c.place, table.c.id).where(table.c.stopped_at.is_(None))
    rows = db.execute(query.where(table.c.beat_at > now() - dead_after_s))
    alive = [row.place or row.id for row in rows]
    known = {place.rpartition(" ")[2] for place in dead}
    return sorted(
        place.rpartition(" ")[0] or place
        for place in alive
        if place.rpartition(" ")[2] not in known
    )


def backup_alive(db: sa.Connection) -> str:
    """Return to where a backup copies now, "" if none does: it relies on this ledger to the end."""
    query = sa.select(_TABLE.c.backup_to).where(_TABLE.c.backup_until > now())
    return str(db.execute(query).scalar_one_or_none() or "")


def record_move(db: sa.Connection, to: str) -> None:
    """Say that all of it is elsewhere now, and to a process that was frozen, that it is dead."""
    db.execute(_TABLE.update().values(moved_to=to, moved_at=now()))
    table = schema.node
    db.execute(table.update().where(table.c.stopped_at.is_(None)).values(stopped_at=now()))
