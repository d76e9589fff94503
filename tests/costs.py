"""What the database has to do, counted: times depend on the machine and on who else uses it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa


@dataclass(slots=True)
class Cost:
    """What was done while it was counted."""

    statements: list[str] = field(default_factory=list)
    steps: int = 0
    """Instructions of SQLite's machine: a few for each row that is looked at, read or not."""

    def step(self) -> int:
        """Count one."""
        self.steps += 1
        return 0


@contextmanager
def counted() -> Iterator[Cost]:
    """Count what all databases of this process do until the block ends; PostgreSQL has no steps."""
    cost = Cost()
    seen: set[sqlite3.Connection] = set()

    def count(db: sa.Connection, cursor: object, statement: str, *rest: Any) -> None:
        if not statement.startswith("BEGIN"):  # on SQLite, an event of ours says it
            cost.statements.append(statement)
        connection = db.connection.driver_connection
        if isinstance(connection, sqlite3.Connection) and connection not in seen:
            seen.add(connection)
            connection.set_progress_handler(cost.step, 1)

    sa.event.listen(sa.Engine, "before_cursor_execute", count)
    try:
        yield cost
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", count)
        for connection in seen:
            connection.set_progress_handler(None, 0)
