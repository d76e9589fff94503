"""Statements that are composed and compiled once for each kind of database.

For each object that comes there is no time to do it anew: it takes ten times as long as what the
database does then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa


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

    def run(self, db: sa.Connection, **values: Any) -> sa.CursorResult[Any]:
        """Execute it within the transaction."""
        text, order = self._compiled.get(db.dialect.name) or self._compile(db)
        if order is None:
            return db.exec_driver_sql(text, values)
        return db.exec_driver_sql(text, tuple([values[name] for name in order]))

    def _compile(self, db: sa.Connection) -> tuple[str, tuple[str, ...] | None]:
        statement: Any = self._compose(db)
        compiled = statement.compile(dialect=db.dialect, column_keys=self._columns)
        order = tuple(compiled.positiontup) if compiled.positional else None
        self._compiled[db.dialect.name] = text, order = str(compiled), order
        return text, order
