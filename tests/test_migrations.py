"""The migrations make exactly the tables that the code declares, once, whoever comes first."""

from __future__ import annotations

import threading
from pathlib import Path

import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from node import schema
from node.ledger import Ledger


def differences(ledger: Ledger) -> list[object]:
    """Return what differs between the database and the declared tables; only ours count."""

    def is_ours(_: object, name: str | None, kind: str, *rest: object) -> bool:
        return kind != "table" or name in schema.metadata.tables

    options = {"compare_server_default": True, "compare_type": True, "include_object": is_ours}
    with ledger.reading() as db:
        return list(compare_metadata(MigrationContext.configure(db, opts=options), schema.metadata))


def test_migrations_make_exactly_the_declared_tables(ledger: Ledger) -> None:
    assert differences(ledger) == []


def test_the_comparison_would_notice_a_missing_column(ledger: Ledger) -> None:
    with ledger.writing() as db:
        db.execute(sa.text("ALTER TABLE study DROP COLUMN held_reason"))
    assert len(differences(ledger)) == 1


def test_migrating_again_keeps_everything(ledger: Ledger) -> None:
    before = ledger.installation
    ledger.register_node("node")
    ledger.migrate()
    assert ledger.installation == before
    assert ledger.live_nodes() == {"node"}


def test_each_installation_has_an_identity_of_its_own(ledger: Ledger, tmp_path: Path) -> None:
    other = Ledger(f"sqlite:///{tmp_path / 'other.db'}")
    other.migrate()
    assert other.installation != ledger.installation
    other.close()


def test_processes_that_start_at_once_migrate_once(tmp_path: Path) -> None:
    ledgers = [Ledger(f"sqlite:///{tmp_path / 'new.db'}") for _ in range(4)]
    identities: list[str] = []

    def start(ledger: Ledger) -> None:
        ledger.migrate()
        identities.append(ledger.installation)

    threads = [threading.Thread(target=start, args=[ledger]) for ledger in ledgers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(identities) == 4
    assert len(set(identities)) == 1
    for ledger in ledgers:
        ledger.close()


def test_tables_that_are_not_ours_are_left_alone(ledger: Ledger) -> None:
    with ledger.writing() as db:
        db.execute(sa.text("CREATE TABLE workflow_status (workflow_uuid TEXT)"))
    ledger.migrate()
    assert differences(ledger) == []
    with ledger.reading() as db:
        assert sa.inspect(db).has_table("workflow_status")
