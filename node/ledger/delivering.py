"""8 Deliver."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from node import schema
from node.errors import Superseded
from node.ledger.clock import now
from node.ledger.database import Database
from node.ledger.records import BuiltReport, Enqueue, Job, Outcome
from node.ledger.rows import (
    add_note,
    dispatch_row,
    find_obstacle,
    lock_study,
    update_deliveries,
    update_dispatch,
)


class Delivering(Database):
    """The attempts at a delivery."""

    def begin_dispatch(self, job: Job, node_id: str) -> tuple[BuiltReport, ...]:
        """Take a delivery for an attempt, and return what the destination does not have yet."""
        with self.writing() as db:
            study = lock_study(db, job.study_uid)
            row = dispatch_row(db, job)
            if row.attempt != job.attempt or row.state not in ("queued", "running"):
                raise Superseded(f"{job.id}: attempt {row.attempt} is {row.state}")
            obstacle = find_obstacle(study, job)
            if obstacle is None:
                db.execute(update_dispatch(job).values(state="running", owner=node_id))
                return _undelivered(db, job)
            db.execute(update_dispatch(job).values(state="cancelled", owner=None, error=obstacle))
        raise Superseded(f"{job.id}: {obstacle}")  # now that the cancellation is committed

    def finish_dispatch(
        self, job: Job, outcomes: Sequence[Outcome], delay_s: float, enqueue: Enqueue
    ) -> None:
        """Record what the destination said; what it did not take is tried again, or given up.

        A refusal is final: the same object would be refused again.
        """
        with self.writing() as db:
            lock_study(db, job.study_uid)
            row = dispatch_row(db, job)
            if row.attempt != job.attempt or row.state != "running":
                raise Superseded(f"{job.id}: attempt {row.attempt} is {row.state}")
            for outcome in outcomes:
                _record_outcome(db, job, outcome)
            at = db.execute(sa.select(now())).scalar_one()
            left = _deliveries_left(db, job)
            is_late = at + delay_s > row.deadline_at
            if "queued" in left and not is_late:
                _retry_dispatch(db, job, left["queued"], at + delay_s)
                enqueue(db, replace(job, attempt=job.attempt + 1, delay_s=delay_s))
            elif left:
                error = left.get("queued") or left["refused"]
                db.execute(update_dispatch(job).values(state="dead", owner=None, error=error))
                add_note(db, job.study_uid, f"given up sending to {job.destination}: {error}")
            else:
                db.execute(update_dispatch(job).values(state="finished", owner=None, error=None))
                add_note(db, job.study_uid, f"delivered to {job.destination}")


def _retry_dispatch(db: sa.Connection, job: Job, error: str, next_at: float) -> None:
    db.execute(
        update_dispatch(job).values(
            state="queued", owner=None, attempt=job.attempt + 1, error=error, next_at=next_at
        )
    )


def _undelivered(db: sa.Connection, job: Job) -> tuple[BuiltReport, ...]:
    rows = db.execute(
        sa.select(schema.report)
        .join(schema.delivery, schema.delivery.c.sop_uid == schema.report.c.sop_uid)
        .where(schema.report.c.study_uid == job.study_uid)
        .where(schema.report.c.number == job.number)
        .where(schema.delivery.c.destination == job.destination)
        .where(schema.delivery.c.state == "queued")
        .order_by(schema.report.c.position)
    ).all()
    return tuple(BuiltReport(r.sop_uid, r.sop_class, r.path, r.digest) for r in rows)


def _deliveries_left(db: sa.Connection, job: Job) -> dict[str, str]:
    """Return an error for each state, other than sent, that objects of the job are in."""
    table = schema.delivery
    rows = db.execute(
        sa.select(table.c.state, table.c.error)
        .where(table.c.study_uid == job.study_uid, table.c.number == job.number)
        .where(table.c.destination == job.destination, table.c.state != "sent")
    ).all()
    return {row.state: row.error or "not sent yet" for row in rows}


def _record_outcome(db: sa.Connection, job: Job, outcome: Outcome) -> None:
    values: dict[str, Any] = {"state": outcome.state, "error": outcome.error}
    if outcome.state == "sent":
        values["sent_at"] = now()
    query = update_deliveries(job, "queued").where(schema.delivery.c.sop_uid == outcome.sop_uid)
    db.execute(query.values(values))
