"""Single rows: how they are locked, found and changed, and what guards them."""

from __future__ import annotations

import logging
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from node import schema
from node.ledger.clock import now
from node.ledger.records import Job

log = logging.getLogger(__name__)


def insert_into(db: sa.Connection, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
    """Begin an INSERT that knows ON CONFLICT."""
    return postgresql.insert(table) if db.dialect.name == "postgresql" else sqlite.insert(table)


def lock_study(db: sa.Connection, study_uid: str) -> sa.Row[Any]:
    """Lock and return the study's row. SQLite ignores FOR UPDATE: BEGIN IMMEDIATE has locked."""
    query = sa.select(schema.study).where(schema.study.c.study_uid == study_uid)
    return db.execute(query.with_for_update()).one()


def add_note(db: sa.Connection, study_uid: str, event: str) -> None:
    """Add a line to a study's history."""
    db.execute(schema.history.insert().values(at=now(), study_uid=study_uid, event=event))


def hold(db: sa.Connection, study_uid: str, reason: str) -> None:
    """Analyse and send nothing of a study until a person has looked."""
    log.warning("Study %s is held: %s", study_uid, reason)
    uid_is = schema.study.c.study_uid == study_uid
    db.execute(schema.study.update().where(uid_is).values(state="held", held_reason=reason))


def find_obstacle(study: sa.Row[Any], job: Job) -> str | None:
    """Return why nothing of this version may be analysed or sent any more, or None."""
    if study.state == "held":
        return str(study.held_reason)
    return None if study.version == job.number else "a newer version exists"


def update_version(job: Job) -> sa.Update:
    """Begin an UPDATE of the job's study version."""
    table = schema.study_version
    return table.update().where(table.c.study_uid == job.study_uid, table.c.number == job.number)


def version_row(db: sa.Connection, job: Job) -> sa.Row[Any]:
    """Return the job's study version."""
    table = schema.study_version
    return db.execute(
        sa.select(table).where(table.c.study_uid == job.study_uid, table.c.number == job.number)
    ).one()


def end_version(db: sa.Connection, job: Job, state: str, error: str | None) -> None:
    """Put a study version into a final state."""
    db.execute(update_version(job).values(state=state, owner=None, error=error, finished_at=now()))
    words = f"version {job.number} {state}"
    add_note(db, job.study_uid, f"{words}: {error}" if error else words)


def update_dispatch(job: Job) -> sa.Update:
    """Begin an UPDATE of the job's delivery as a whole."""
    table = schema.dispatch
    return table.update().where(
        table.c.study_uid == job.study_uid,
        table.c.number == job.number,
        table.c.destination == job.destination,
    )


def dispatch_row(db: sa.Connection, job: Job) -> sa.Row[Any]:
    """Return the job's delivery as a whole."""
    table = schema.dispatch
    return db.execute(
        sa.select(table)
        .where(table.c.study_uid == job.study_uid, table.c.number == job.number)
        .where(table.c.destination == job.destination)
    ).one()


def update_deliveries(job: Job, state: str) -> sa.Update:
    """Begin an UPDATE of the job's objects that are in a state."""
    table = schema.delivery
    return (
        table.update()
        .where(table.c.study_uid == job.study_uid, table.c.number == job.number)
        .where(table.c.destination == job.destination, table.c.state == state)
    )
