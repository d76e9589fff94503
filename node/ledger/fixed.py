"""Statements that are composed and compiled once for each kind of database.

For each object that comes there is no time to do it anew: it takes ten times as long as what the
database does then. Nor is there for a result of SQLAlchemy's: the driver is asked itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import result_tuple


def execute(db: sa.Connection, text: str, parameters: Any = ()) -> Any:
    """Execute SQL on a connection, and return the driver's cursor.

    Its errors are raised as SQLAlchemy's, and who listens to statements is told. No transaction is
    begun for it.
    """
    return _run(db, text, parameters, is_question=False)[0]


def fetch(db: sa.Connection, text: str, parameters: Any = ()) -> list[Any]:
    """Ask SQL on a connection, and return all rows, as the driver has them; else as `execute`."""
    cursor, found = _run(db, text, parameters, is_question=True)
    cursor.close()
    return found


def _run(
    db: sa.Connection, text: str, parameters: Any, *, is_question: bool
) -> tuple[Any, list[Any]]:
    """Return the cursor, and the rows: some databases find out only there that they fail."""
    found: Any = []
    cursor: Any = db.connection.cursor()
    for tell in db.dispatch.before_cursor_execute:
        tell(db, cursor, text, parameters, None, False)
    try:
        cursor.execute(text, parameters)
        if is_question:
            found = cursor.fetchall()
    except db.dialect.loaded_dbapi.Error as error:
        db._handle_dbapi_exception(error, text, parameters, cursor, None)
    return cursor, found


class Fixed:
    """One statement; what differs from time to time are parameters.

    Each is a `sa.bindparam(name)`, or one of the columns that an INSERT has by these names. Values
    are handed to the driver, and come from it, as they are: members of an enumeration as words.
    """

    def __init__(
        self, compose: Callable[[sa.Connection], sa.Executable], columns: Sequence[str] = ()
    ) -> None:
        self._compose = compose
        self._columns = list(columns) or None
        self._compiled: dict[str, tuple[str, tuple[str, ...] | None]] = {}
        """By kind of database the text, and the order of the parameters where they have none."""
        self._row: Callable[[Any], sa.Row[Any]] | None = None
        """Makes a row of what the driver returns."""

    def rows(self, db: sa.Connection, **values: Any) -> list[sa.Row[Any]]:
        """Ask it, and return the rows."""
        cursor, found = self._run(db, values, is_question=True)
        if self._row is None:
            self._row = result_tuple([name for name, *_ in cursor.description])
        cursor.close()
        return [self._row(one) for one in found]

    def row(self, db: sa.Connection, **values: Any) -> sa.Row[Any] | None:
        """Ask it, and return the row, of which there is one at most."""
        found = self.rows(db, **values)
        return found[0] if found else None

    def change(self, db: sa.Connection, **values: Any) -> int:
        """Do it; return how many rows it made or changed."""
        cursor, _ = self._run(db, values, is_question=False)
        count = int(cursor.rowcount)
        cursor.close()
        return count

    def _run(
        self, db: sa.Connection, values: dict[str, Any], *, is_question: bool
    ) -> tuple[Any, list[Any]]:
        text, order = self._compiled.get(db.dialect.name) or self._compile(db)
        parameters = values if order is None else [values[name] for name in order]
        return _run(db, text, parameters, is_question=is_question)

    def _compile(self, db: sa.Connection) -> tuple[str, tuple[str, ...] | None]:
        statement: Any = self._compose(db)
        compiled = statement.compile(dialect=db.dialect, column_keys=self._columns)
        order = tuple(compiled.positiontup) if compiled.positional else None
        self._compiled[db.dialect.name] = text, order = str(compiled), order
        return text, order
