"""What the database is, and whether we may do there what we must; nothing is changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from node.ledger.database import Ledger, migrations

Tables = Literal["none", "older", "current", "newer"]
"""Of which release our tables are, compared with this one."""


@dataclass(frozen=True, slots=True)
class Examination:
    """What was found in a database."""

    server: str
    """Name and version, such as "PostgreSQL 15.8"."""
    tables: Tables
    survives_power_cuts: bool
    """What was committed is on disk."""


def examine(ledger: Ledger) -> Examination:
    """Examine the database; raises SQLAlchemy's DBAPIError if we may not make tables there."""
    with ledger.writing(even_if_moved=True) as db:
        name = "PostgreSQL" if db.dialect.name == "postgresql" else "SQLite"
        version = ".".join(str(part) for part in db.dialect.server_version_info or ())
        found = Examination(f"{name} {version}", release_of_tables(db), _survives(db))
        _create(db)
        db.rollback()
        return found


def _create(db: sa.Connection) -> None:
    """Do what a first start does: a table of ours and a schema of the queue's."""
    db.execute(sa.text("CREATE TABLE ai_node_doctor (id INTEGER)"))
    if db.dialect.name == "postgresql":
        db.execute(sa.text("CREATE SCHEMA ai_node_doctor"))


def release_of_tables(db: sa.Connection) -> Tables:
    """Return of which release our tables are."""
    found = MigrationContext.configure(db).get_current_revision()
    scripts = ScriptDirectory.from_config(migrations())
    if found is None:
        return "none"
    if found == scripts.get_current_head():
        return "current"
    return "older" if found in {one.revision for one in scripts.walk_revisions()} else "newer"


def _survives(db: sa.Connection) -> bool:
    return db.dialect.name == "sqlite" or db.scalar(sa.text("SHOW fsync")) == "on"
