"""A database that somebody else has locked, as a backup or a stuck transaction does."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from node.ledger import Ledger


@contextlib.contextmanager
def locked(ledger: Ledger) -> Iterator[None]:
    """Let nobody write to the ledger meanwhile; it can be read."""
    url = ledger._engine.url
    if url.get_backend_name() == "sqlite":
        assert url.database
        other = sqlite3.connect(url.database, isolation_level=None, check_same_thread=False)
        with contextlib.closing(other):
            other.execute("BEGIN IMMEDIATE")
            yield
        return
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        connection.execute(sa.text("LOCK TABLE study, association, peer IN EXCLUSIVE MODE"))
        yield
    engine.dispose()


def impatient(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a ledger wait for a moment only; where the server waits, it takes its 5 s."""
    monkeypatch.setattr("node.ledger.connections._WAIT_S", 0.2)
    ledger.close()  # the connections that wait longer
