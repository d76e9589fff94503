"""The database is looked at before it is needed, and nothing in it changes."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from postgres import PostgreSQL

from node.ledger import Ledger, examine

FIRST = "0001"


def set_release(ledger: Ledger, revision: str) -> None:
    with ledger.writing() as db:
        db.execute(sa.text("UPDATE alembic_version SET version_num = :it"), {"it": revision})


def tables(ledger: Ledger) -> set[str]:
    with ledger.reading() as db:
        return set(sa.inspect(db).get_table_names())


def test_the_tables_of_this_release_are_known(ledger: Ledger) -> None:
    before = tables(ledger)
    found = examine(ledger)
    assert found.tables == "current"
    assert found.server.split()[0] in ("SQLite", "PostgreSQL")
    assert found.server.split()[1][0].isdigit()
    assert tables(ledger) == before


@pytest.mark.parametrize(("revision", "expected"), [(FIRST, "older"), ("9999", "newer")])
def test_the_tables_of_other_releases_are_told_apart(
    revision: str, expected: str, ledger: Ledger
) -> None:
    set_release(ledger, revision)
    assert examine(ledger).tables == expected


def test_an_empty_database_stays_empty(tmp_path: Path) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    assert examine(ledger).tables == "none"
    assert examine(ledger).survives_power_cuts
    assert tables(ledger) == set()
    ledger.close()


@pytest.mark.interop
def test_an_empty_database_on_a_server_stays_empty(postgresql: PostgreSQL) -> None:
    ledger = Ledger(postgresql.new_database(is_empty=True))
    found = examine(ledger)
    assert found.tables == "none"
    assert not found.survives_power_cuts  # the server of the tests is quick
    with ledger.reading() as db:
        assert "ai_node_doctor" not in sa.inspect(db).get_schema_names()
    assert tables(ledger) == set()
    ledger.close()


@pytest.mark.interop
@pytest.mark.parametrize("allowed", ["CREATE ON DATABASE {}", "CREATE ON SCHEMA public"])
def test_who_may_not_create_what_a_start_creates_is_told(
    allowed: str, postgresql: PostgreSQL
) -> None:
    url = postgresql.new_database(is_empty=True)
    name = url.rpartition("/")[2]
    with psycopg.connect(url, autocommit=True) as db:
        for statement in (
            "DROP ROLE IF EXISTS guest",
            "CREATE ROLE guest LOGIN PASSWORD 'guest'",
            "REVOKE CREATE ON SCHEMA public FROM public",
            f"GRANT {allowed.format(name)} TO guest",
        ):
            db.execute(statement.encode())
    ledger = Ledger(f"postgresql://guest:guest@127.0.0.1:{postgresql.port}/{name}")
    with pytest.raises(sa.exc.DBAPIError, match="permission denied"):
        examine(ledger)
    ledger.close()
    with psycopg.connect(url, autocommit=True) as db:
        db.execute(b"DROP OWNED BY guest")
        db.execute(b"DROP ROLE guest")
