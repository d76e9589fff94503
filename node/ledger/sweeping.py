"""Sweeps and hands."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from node import schema
from node.ledger.clock import now
from node.ledger.database import Database
from node.ledger.processing import QUARANTINE_AFTER
from node.ledger.records import Directions, Enqueue, Job
from node.ledger.rows import (
    add_note,
    dispatch_row,
    find_place,
    lock_study,
    plan_delivery,
    update_deliveries,
    update_dispatch,
    update_version,
    version_row,
)

DELAY_PER_CRASH_S = 2.0


class Sweeping(Database):
    """What is taken up again."""

    def unfinished(self) -> list[Job]:
        """Return the current job of every row that is not final."""
        with self.reading() as db:
            versions = db.execute(
                sa.select(schema.study_version).where(
                    schema.study_version.c.state.in_(("queued", "running"))
                )
            ).all()
            dispatches = db.execute(
                sa.select(
                    schema.dispatch, (schema.dispatch.c.next_at - now()).label("wait_s")
                ).where(schema.dispatch.c.state.in_(("queued", "running")))
            ).all()
        return [Job("process", row.study_uid, row.number, row.attempt) for row in versions] + [
            Job(
                "deliver",
                row.study_uid,
                row.number,
                row.attempt,
                row.destination,
                delay_s=max(0.0, row.wait_s or 0.0),
            )
            for row in dispatches
        ]

    def revive(self, job: Job, enqueue: Enqueue) -> None:
        """Enqueue the next attempt of a job that nobody has any more.

        A row found running was in a process that died: that counts as a crash.
        """
        with self.writing() as db:
            lock_study(db, job.study_uid)
            row = dispatch_row(db, job) if job.kind == "deliver" else version_row(db, job)
            if row.attempt != job.attempt or row.state not in ("queued", "running"):
                return
            values: dict[str, Any] = {"state": "queued", "owner": None, "attempt": job.attempt + 1}
            following = replace(job, attempt=job.attempt + 1)
            if job.kind == "deliver":
                db.execute(update_dispatch(job).values(values))
            else:
                crashes = row.crashes + (row.state == "running")
                db.execute(update_version(job).values(values | {"crashes": crashes}))
                following = replace(
                    following,
                    is_quarantined=crashes >= QUARANTINE_AFTER,
                    # A study that kills its process must not keep the node deaf.
                    delay_s=crashes * DELAY_PER_CRASH_S,
                )
            if row.state == "running":
                add_note(db, job.study_uid, _what_ended(db, job, row.owner, self.dead_after_s))
            enqueue(db, following)

    def retry_dead(self, deliver_within_s: float, substitutes: Collection[str] = ()) -> int:
        """Queue anew what was given up or refused, for the reconcile sweep to pick up.

        What was replaced by an object of a SOP class in `substitutes` that was refused, too, is
        tried again in its place. Returns how many report sets.
        """
        with self.writing() as db:
            rows = db.execute(
                sa.select(schema.dispatch).where(schema.dispatch.c.state == "dead")
            ).all()
            for row in rows:
                job = Job("deliver", row.study_uid, row.number, row.attempt, row.destination)
                deadline_at = now() + deliver_within_s
                again = {"state": "queued", "deadline_at": deadline_at, "next_at": None, "asks": 0}
                db.execute(update_dispatch(job).values(again))
                _undo_substitution(db, job, substitutes)
                refused = update_deliveries(job).where(schema.delivery.c.state == "refused")
                db.execute(refused.values(state="queued"))
                add_note(db, row.study_uid, f"sent again to {row.destination} by hand")
            return len(rows)

    def retry_undirected(self, directions: Directions, deliver_within_s: float) -> tuple[int, int]:
        """Plan the deliveries of report sets that had no destination when they were built.

        Returns how many are sent now, and how many still go nowhere: nobody gets the results of
        their sender, or nobody the kinds of object that were built.
        """
        with self.reading() as db:
            studies = [row.study_uid for row in db.execute(_undirected())]
        sent = 0
        for study_uid in studies:
            with self.writing() as db:
                study = lock_study(db, study_uid)
                version = schema.study_version
                row = db.execute(_undirected().where(version.c.study_uid == study_uid)).first()
                if row is not None:
                    job = Job("process", study_uid, row.number, row.attempt)
                    sent += _direct(db, job, directions(study.sender), deliver_within_s)
        return sent, len(studies) - sent


def _undirected() -> sa.Select[Any]:
    """Select the newest versions of studies whose results were to be sent, and go nowhere."""
    study, version, dispatch = schema.study, schema.study_version, schema.dispatch
    has_dispatch = sa.exists().where(
        dispatch.c.study_uid == version.c.study_uid, dispatch.c.number == version.c.number
    )
    return (
        sa.select(version)
        .join(study, study.c.study_uid == version.c.study_uid)
        .where(study.c.version == version.c.number, study.c.held_reason.is_(None))
        .where(version.c.state == "finished", version.c.error.is_not(None), ~has_dispatch)
    )


def _direct(
    db: sa.Connection,
    job: Job,
    destinations: Mapping[str, frozenset[str]],
    deliver_within_s: float,
) -> bool:
    """Plan the deliveries of one report set; return whether there are any."""
    table = schema.report
    query = sa.select(table.c.sop_uid, table.c.sop_class).where(
        table.c.study_uid == job.study_uid, table.c.number == job.number
    )
    reports = db.execute(query.order_by(table.c.position)).all()
    is_sent = False
    for destination, sop_classes in destinations.items():
        wanted = [report.sop_uid for report in reports if report.sop_class in sop_classes]
        if plan_delivery(db, job, destination, wanted, deliver_within_s):
            note = f"sent to {destination} by hand: {len(wanted)} of {len(reports)} objects"
            add_note(db, job.study_uid, note)
            is_sent = True
    if is_sent:
        db.execute(update_version(job).values(error=None))
    return is_sent


def _undo_substitution(db: sa.Connection, job: Job, substitutes: Collection[str]) -> None:
    delivery, report = schema.delivery, schema.report
    of_class = sa.select(report.c.sop_uid).where(report.c.sop_class.in_(substitutes))
    refused = sa.delete(delivery).where(
        delivery.c.study_uid == job.study_uid,
        delivery.c.number == job.number,
        delivery.c.destination == job.destination,
        delivery.c.state == "refused",
        delivery.c.sop_uid.in_(of_class),
    )
    replaced = update_deliveries(job).where(delivery.c.state == "replaced")
    has_replaced = sa.select(delivery.c.sop_uid).where(
        delivery.c.study_uid == job.study_uid,
        delivery.c.number == job.number,
        delivery.c.destination == job.destination,
        delivery.c.state == "replaced",
    )
    if db.execute(has_replaced).first() is not None and db.execute(refused).rowcount:
        db.execute(replaced.values(state="queued", error=None))


def _what_ended(db: sa.Connection, job: Job, owner: str, dead_after_s: float) -> str:
    """Say what has become of an attempt, and on which node."""
    node = schema.node
    is_dead = node.c.stopped_at.is_not(None) | (node.c.beat_at < now() - dead_after_s)
    lives = db.execute(sa.select(node.c.id).where(node.c.id == owner, ~is_dead)).first()
    how = "ended unexpectedly" if lives else "died with its node"
    place = find_place(db, owner)
    where = f" on {place}" if place else ""
    return f"{job.kind}: attempt {job.attempt} {how}{where}; attempt {job.attempt + 1} follows"
