"""The rows of one ledger copied into another, on whichever database each is.

Table by table, in portions in the order of the primary key, each committed with how far it is:
what was broken off goes on from there. At the end every row is read again on both sides: that the
copy is the original does not depend on how it came about.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from node.errors import NodeError
from node.ledger import schema
from node.ledger.database import Ledger

ROWS_AT_ONCE = 500
"""Rows that are read, and committed, at once."""

OnRows = Callable[[int], object]
"""Is told of each row that has been copied, or read again; see `steps_of_copy`."""

_Row = tuple[Any, ...]
_MODULUS = 2**256


def _as_stored(table: sa.Table) -> sa.Table:
    """Return a table whose values are as the database has them, words of former releases too."""
    columns = []
    for column in table.columns:
        kind = column.type
        stored = kind.impl_instance if isinstance(kind, sa.types.TypeDecorator) else kind
        columns.append(sa.Column(column.name, stored, primary_key=column.primary_key))
    return sa.Table(table.name, sa.MetaData(), *columns)


_INSTALLATION = _as_stored(schema.installation)
_TABLES: Mapping[str, sa.Table] = {
    table.name: _as_stored(table)
    for table in schema.metadata.sorted_tables
    if table is not schema.installation
}
"""Those that are copied row by row, in order. The installation's one row is there from the
beginning."""


@dataclass(frozen=True, slots=True)
class _Place:
    """How far a copy is that is not whole."""

    source: str
    """Of what it is a copy, for people."""
    table: str = next(iter(_TABLES))
    after: tuple[str | int, ...] = ()
    """The key, in the source's order, of the last row that has been copied of that table."""

    def written(self) -> str:
        return json.dumps({"from": self.source, "table": self.table, "after": self.after})


def _place_in(written: str) -> _Place:
    found = json.loads(written)
    return _Place(found["from"], found["table"], tuple(found["after"]))


def source_of_copy(moving: str) -> str:
    """Return of what a ledger is to be a copy, of `installation.moving`."""
    return _place_in(moving).source


def steps_of_copy(source: sa.Connection) -> int:
    """Return of how many steps `copy_ledger` will tell: each row is copied, and read on each side.

    One that has to be copied again, since the source has changed, is told of again.
    """
    _without_time_limits(source)
    return 3 * sum(_count(source, table) for table in _TABLES.values())


def copy_ledger(source: sa.Connection, target: Ledger, advance: OnRows, *, name: str) -> None:
    """Make a ledger with the tables of this release the copy of another, or go on with that.

    `source`: a transaction in which nothing changes: a snapshot, or one that keeps writers away.
    `name`: of what it is a copy, without a password; whoever opens it too early is told so.

    When this returns, every row has been compared. `end_copy` is what makes a ledger of it: until
    then no node starts on the target.

    Raises NodeError if the target has rows of its own, or is changed by somebody else meanwhile.
    """
    _without_time_limits(source)
    place = _begin(source, target, name)
    names = list(_TABLES)
    with target.reading() as db:
        there = {name: _count(db, table) for name, table in _TABLES.items()}
    advance(sum(there.values()))
    begun = place
    for table in names[names.index(begun.table) :]:
        if table == begun.table:
            place = _copy_table(source, target, begun, place, advance)
        elif not there[table]:  # it is not, unless we were broken off while we copied one anew
            place = _copy_table(source, target, _Place(begun.source, table), place, advance)
    for table in _differing(source, target, names, advance):  # it changed after we were broken off
        emptied = _Place(place.source, table)
        with target.writing() as db:
            _record(db, place, emptied)
            _clear(db, _TABLES[table])
        place = _copy_table(source, target, emptied, emptied, advance)
        if _differing(source, target, [table], advance):
            raise NodeError(
                f"the rows of table {table} in the copy are not those of the original, for the "
                "second time; either it is being changed meanwhile, or its disk or memory has a "
                "fault: nothing has been moved"
            )


def end_copy(target: Ledger) -> None:
    """Let a ledger that is a whole copy be one: numbers go on where those of the original end."""
    with target.writing() as db:
        if db.dialect.name == "postgresql":
            for table in _TABLES.values():
                _set_sequence(db, table)
        db.execute(_INSTALLATION.update().values(moving=None))


def _without_time_limits(source: sa.Connection) -> None:
    """Let a transaction last as long as the copying: it waits while the other side is read."""
    if source.dialect.name == "postgresql":
        source.execute(
            sa.text(
                "SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL statement_timeout = 0"
            )
        )


def _begin(source: sa.Connection, target: Ledger, name: str) -> _Place:
    """Return how far the copy is; if there is none yet, begin one."""
    ours = source.execute(sa.select(_INSTALLATION)).mappings().one()
    with target.writing() as db:
        query = sa.select(_INSTALLATION)
        found = db.execute(query.with_for_update()).mappings().one_or_none()
        if found is not None and found["id"] == ours["id"] and found["moving"]:
            return _place_in(found["moving"])
        _refuse_target(db, ours["id"])
        for table in (*_TABLES.values(), _INSTALLATION):
            _clear(db, table)
        begun = _Place(name)
        row = {**ours, "moved_to": None, "moved_at": None, "moving": begun.written()}
        db.execute(_INSTALLATION.insert(), [row])
        return begun


def _refuse_target(db: sa.Connection, installation: str) -> None:
    """Raise NodeError if a ledger must not become the copy of an installation's.

    It may have rows of ours that have moved away since: they are replaced.
    """
    found = db.execute(sa.select(_INSTALLATION)).mappings().one_or_none()
    if found is None:
        return
    if found["id"] == installation:
        if found["moving"] or found["moved_to"]:
            return
        raise NodeError(
            "it is this installation's already, and has not moved: of two such ledgers nobody can "
            "say which is right. Name one of them in [node] database, and remove the other"
        )
    if found["moving"]:
        raise NodeError(
            f"it has a part of another ledger, that of {source_of_copy(found['moving'])}; name an "
            "empty database"
        )
    if any(_has_rows(db, table) for table in _TABLES.values()):
        raise NodeError(
            "it has the rows of another installation, which would be lost; name an empty database"
        )


def _copy_table(
    source: sa.Connection, target: Ledger, start: _Place, recorded: _Place, advance: OnRows
) -> _Place:
    """Copy the rows of a table that come after a place; return the place that was recorded last."""
    table = _TABLES[start.table]
    for rows in _portions(source, table, start.after):
        place = _Place(start.source, table.name, _key_of(table, rows[-1]))
        with target.writing() as db:
            _record(db, recorded, place)  # first: it locks
            _insert(db, table, rows)
        recorded = place
        advance(len(rows))
    return recorded


def _record(db: sa.Connection, former: _Place, place: _Place) -> None:
    """Write down how far the copy is; raise NodeError if somebody else has gone on with it."""
    was = _INSTALLATION.c.moving == former.written()
    changed = db.execute(_INSTALLATION.update().where(was).values(moving=place.written()))
    if changed.rowcount != 1:
        raise NodeError("another process is copying into the same ledger: let only one do so")


def _insert(db: sa.Connection, table: sa.Table, rows: Sequence[_Row]) -> None:
    names = [column.name for column in table.columns]
    try:
        db.execute(table.insert(), [dict(zip(names, row, strict=True)) for row in rows])
    except (sa.exc.DataError, sa.exc.StatementError) as error:
        if isinstance(error, sa.exc.OperationalError):
            raise
        reason = " ".join(str(error.orig or type(error).__name__).split("\n")[0].split())
        first = _key_of(table, rows[0])
        raise NodeError(
            f"table {table.name}: a row among the {len(rows)} from {first} on cannot be written "
            f"there: {reason}"
        ) from error


def _portions(
    db: sa.Connection, table: sa.Table, after: Sequence[str | int] = ()
) -> Iterator[Sequence[_Row]]:
    """Yield the rows of a table after a key, in the database's own order of keys."""
    key = list(table.primary_key.columns)
    while True:
        query = sa.select(table).order_by(*key).limit(ROWS_AT_ONCE)
        if after:
            query = query.where(sa.tuple_(*key) > sa.tuple_(*after))
        rows = [tuple(row) for row in db.execute(query)]
        if rows:
            after = _key_of(table, rows[-1])
            yield rows
        if len(rows) < ROWS_AT_ONCE:
            return


def _key_of(table: sa.Table, row: _Row) -> tuple[str | int, ...]:
    return tuple(
        value for column, value in zip(table.columns, row, strict=True) if column.primary_key
    )


# Comparing ------------------------------------------------------------------------------------


def _differing(
    source: sa.Connection, target: Ledger, names: Sequence[str], advance: OnRows
) -> list[str]:
    """Return in which tables the two have not the same rows."""
    differing = []
    for name in names:
        theirs = _digest(source, _TABLES[name], advance)
        with target.reading() as db:
            ours = _digest(db, _TABLES[name], advance)
        if ours != theirs:
            differing.append(name)
    return differing


def _digest(db: sa.Connection, table: sa.Table, advance: OnRows) -> tuple[int, int]:
    """Return how many rows a table has, and a digest of them all, in whatever order they come.

    Databases order text each by rules of its own.
    """
    count = total = 0
    for rows in _portions(db, table):
        for row in rows:
            total += int.from_bytes(hashlib.sha256(_as_bytes(row)).digest())
        count += len(rows)
        advance(len(rows))
    return count, total % _MODULUS


def _as_bytes(row: _Row) -> bytes:
    """Return the values of a row as bytes that no other row has."""
    if 0.0 in row:  # or what is equal to it; SQLite knows no negative zero
        row = tuple(value + 0.0 if isinstance(value, float) else value for value in row)
    return repr(row).encode()


# Tables ---------------------------------------------------------------------------------------


def _count(db: sa.Connection, table: sa.Table) -> int:
    return int(db.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())


def _has_rows(db: sa.Connection, table: sa.Table) -> bool:
    return db.execute(sa.select(sa.literal(1)).select_from(table).limit(1)).first() is not None


def _clear(db: sa.Connection, table: sa.Table) -> None:
    if db.dialect.name == "postgresql":  # at once, however many there are
        db.execute(sa.text(f"TRUNCATE {table.name}"))
    else:
        db.execute(table.delete())


def _set_sequence(db: sa.Connection, table: sa.Table) -> None:
    """Let a table's own numbers, if it has some, go on after those that are there."""
    for column in table.primary_key.columns:
        name = db.execute(
            sa.select(sa.func.pg_get_serial_sequence(table.name, column.name))
        ).scalar_one()
        if name is not None:
            last = sa.func.max(column)
            db.execute(
                sa.select(sa.func.setval(name, sa.func.coalesce(last, 1), last.is_not(None)))
            )
