"""Sweeps and hands."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, Literal

import sqlalchemy as sa

from node.ledger import schema
from node.ledger.clock import now
from node.ledger.database import Database
from node.ledger.records import Directions, Enqueue, Filed, Job
from node.ledger.rows import (
    DELAY_MAX_S,
    QUARANTINE_AFTER,
    add_note,
    dispatch_row,
    find_place,
    give_up_for_good,
    grown_s,
    is_given_up,
    lock_study,
    plan_delivery,
    update_deliveries,
    update_dispatch,
    update_version,
    version_row,
)
from node.ledger.states import DeliveryState, DispatchState, VersionState

DELAY_PER_CRASH_S = 2.0

_Ending = Literal["died with its node", "ended unexpectedly", "could not say how it ended"]
_COUNTER: Mapping[_Ending, str] = {
    "died with its node": "crashes",
    "ended unexpectedly": "failures",
    "could not say how it ended": "troubles",
}


class Sweeping(Database):
    """What is taken up again."""

    def unfinished(self) -> list[Job]:
        """Return the current job of every row that is not final."""
        with self.reading() as db:
            versions = db.execute(
                sa.select(schema.study_version).where(
                    schema.study_version.c.state.in_((VersionState.QUEUED, VersionState.RUNNING))
                )
            ).all()
            dispatches = db.execute(
                sa.select(
                    schema.dispatch, (schema.dispatch.c.next_at - now()).label("wait_s")
                ).where(schema.dispatch.c.state.in_((DispatchState.QUEUED, DispatchState.RUNNING)))
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

    def revive(
        self,
        job: Job,
        enqueue: Enqueue,
        live_nodes: Collection[str] = (),
        *,
        has_failed: bool = False,
    ) -> None:
        """Enqueue the next attempt of a job that nobody has any more.

        A row found running was in a process that died, which counts as a crash, or in one that
        lives and could not say how it ended: the database was away. An exception of which nobody
        has heard (`has_failed`) counts as a failure.
        """
        with self.writing() as db:
            lock_study(db, job.study_uid)
            row = dispatch_row(db, job) if job.kind == "deliver" else version_row(db, job)
            if row.attempt != job.attempt or row.state.is_final:
                return
            ending = _how_it_ended(row, live_nodes, has_failed=has_failed)
            revive = _revive_dispatch if job.kind == "deliver" else _revive_version
            following = revive(db, job, row, ending)
            if ending is not None:
                words = f"{job.kind}: attempt {job.attempt} {ending}{_where(db, row.owner)}"
                follows = f"; attempt {following.attempt} follows" if following else ""
                add_note(db, job.study_uid, words + follows)
            if following is not None:
                enqueue(db, following)

    def filed(self, study_uids: Collection[str]) -> list[Filed]:
        """Return every file that rows of these studies speak of."""
        instance, former, report = schema.instance, schema.former_instance, schema.report
        version = schema.study_version
        built_at = sa.func.coalesce(version.c.finished_at, version.c.closed_at)
        columns = (
            sa.select(
                instance.c.study_uid, instance.c.sop_uid, instance.c.path, instance.c.received_at
            ).where(instance.c.study_uid.in_(study_uids)),
            sa.select(instance.c.study_uid, former.c.sop_uid, former.c.path, former.c.received_at)
            .join(instance, instance.c.sop_uid == former.c.sop_uid)
            .where(instance.c.study_uid.in_(study_uids)),
            sa.select(report.c.study_uid, report.c.sop_uid, report.c.path, built_at)
            .join(
                version,
                sa.and_(
                    version.c.study_uid == report.c.study_uid, version.c.number == report.c.number
                ),
            )
            .where(report.c.study_uid.in_(study_uids)),
        )
        with self.reading() as db:
            at = db.execute(sa.select(now())).scalar_one()
            rows = [row for query in columns for row in db.execute(query)]
        return [
            Filed(study_uid, sop_uid, path, at - then) for study_uid, sop_uid, path, then in rows
        ]

    def studies_after(self, study_uid: str, count: int) -> list[str]:
        """Return so many studies, in the order of their UIDs, that come after one."""
        table = schema.study
        query = sa.select(table.c.study_uid).where(table.c.study_uid > study_uid)
        with self.reading() as db:
            return list(db.execute(query.order_by(table.c.study_uid).limit(count)).scalars())

    def note_once(self, study_uid: str, event: str) -> bool:
        """Add a line to a study's history, unless it is there; return whether it was not."""
        table = schema.history
        same = sa.select(table.c.id).where(table.c.study_uid == study_uid, table.c.event == event)
        with self.writing() as db:
            lock_study(db, study_uid)
            if db.execute(same.limit(1)).first() is not None:
                return False
            add_note(db, study_uid, event)
            return True

    def retry_dead(self, deliver_within_s: float, substitutes: Collection[str] = ()) -> int:
        """Queue anew what was given up or refused, for the reconcile sweep to pick up.

        What was replaced by an object of a kind in `substitutes` that was refused, too, is tried
        again in its place. Returns how many report sets.
        """
        with self.writing() as db:
            rows = db.execute(
                sa.select(schema.dispatch).where(schema.dispatch.c.state == DispatchState.DEAD)
            ).all()
            for row in rows:
                job = Job("deliver", row.study_uid, row.number, row.attempt, row.destination)
                deadline_at = now() + deliver_within_s
                again = {
                    "state": DispatchState.QUEUED,
                    "deadline_at": deadline_at,
                    "next_at": None,
                    "asks": 0,
                }
                db.execute(update_dispatch(job).values(again))
                _undo_substitution(db, job, substitutes)
                refused = update_deliveries(job).where(
                    schema.delivery.c.state == DeliveryState.REFUSED
                )
                db.execute(refused.values(state=DeliveryState.QUEUED))
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
        .where(
            version.c.state == VersionState.FINISHED, version.c.error.is_not(None), ~has_dispatch
        )
    )


def _direct(
    db: sa.Connection,
    job: Job,
    destinations: Mapping[str, frozenset[str]],
    deliver_within_s: float,
) -> bool:
    """Plan the deliveries of one report set; return whether there are any."""
    table = schema.report
    query = sa.select(table.c.sop_uid, schema.report_kind).where(
        table.c.study_uid == job.study_uid, table.c.number == job.number
    )
    reports = db.execute(query.order_by(table.c.position)).all()
    is_sent = False
    for destination, kinds in destinations.items():
        wanted = [report.sop_uid for report in reports if report.kind in kinds]
        if plan_delivery(db, job, destination, wanted, deliver_within_s):
            note = f"sent to {destination} by hand: {len(wanted)} of {len(reports)} objects"
            add_note(db, job.study_uid, note)
            is_sent = True
    if is_sent:
        db.execute(update_version(job).values(error=None))
    return is_sent


def _undo_substitution(db: sa.Connection, job: Job, substitutes: Collection[str]) -> None:
    delivery, report = schema.delivery, schema.report
    of_kind = sa.select(report.c.sop_uid).where(schema.report_kind.in_(substitutes))
    refused = sa.delete(delivery).where(
        delivery.c.study_uid == job.study_uid,
        delivery.c.number == job.number,
        delivery.c.destination == job.destination,
        delivery.c.state == DeliveryState.REFUSED,
        delivery.c.sop_uid.in_(of_kind),
    )
    replaced = update_deliveries(job).where(delivery.c.state == DeliveryState.REPLACED)
    has_replaced = sa.select(delivery.c.sop_uid).where(
        delivery.c.study_uid == job.study_uid,
        delivery.c.number == job.number,
        delivery.c.destination == job.destination,
        delivery.c.state == DeliveryState.REPLACED,
    )
    if db.execute(has_replaced).first() is not None and db.execute(refused).rowcount:
        db.execute(replaced.values(state=DeliveryState.QUEUED, error=None))


def _how_it_ended(
    row: sa.Row[Any], live_nodes: Collection[str], *, has_failed: bool
) -> _Ending | None:
    """Return what became of an attempt; None if it has never begun."""
    is_running = row.state in (VersionState.RUNNING, DispatchState.RUNNING)
    if is_running and row.owner not in live_nodes:
        return "died with its node"
    if has_failed:
        return "ended unexpectedly"
    return "could not say how it ended" if is_running else None


def _revive_version(
    db: sa.Connection, job: Job, row: sa.Row[Any], ending: _Ending | None
) -> Job | None:
    """Return the job of the next attempt; None if there is none, and the study is held."""
    counts = {name: getattr(row, name) for name in _COUNTER.values()}
    if ending is not None:
        counts[_COUNTER[ending]] += 1
    if ending in ("died with its node", "ended unexpectedly") and is_given_up(row):
        give_up_for_good(db, job, ending)
        return None
    # A study that kills its process must not keep the node deaf.
    delay_s = counts["crashes"] * DELAY_PER_CRASH_S
    if ending == "could not say how it ended":
        delay_s = max(delay_s, grown_s(DELAY_PER_CRASH_S, counts["troubles"]))
    following = replace(
        job,
        attempt=job.attempt + 1,
        is_quarantined=counts["crashes"] >= QUARANTINE_AFTER,
        delay_s=delay_s,
    )
    values = counts | {"state": VersionState.QUEUED, "owner": None, "attempt": following.attempt}
    db.execute(update_version(job).values(values))
    return following


def _revive_dispatch(
    db: sa.Connection, job: Job, row: sa.Row[Any], ending: _Ending | None
) -> Job | None:
    """Return the job of the next attempt; None if there is none, and the delivery is given up."""
    at = db.execute(sa.select(now())).scalar_one()
    if ending == "ended unexpectedly" and at > row.deadline_at:
        error = "its attempts ended unexpectedly; the log says how"
        db.execute(update_dispatch(job).values(state=DispatchState.DEAD, owner=None, error=error))
        return None
    values = {"state": DispatchState.QUEUED, "owner": None, "attempt": job.attempt + 1}
    db.execute(update_dispatch(job).values(values))
    is_late = ending in ("ended unexpectedly", "could not say how it ended")
    delay_s = min(DELAY_PER_CRASH_S * job.attempt, DELAY_MAX_S) if is_late else 0.0
    return replace(job, attempt=job.attempt + 1, delay_s=max(job.delay_s, delay_s))


def _where(db: sa.Connection, owner: str | None) -> str:
    place = find_place(db, owner) if owner else None
    return f" on {place}" if place else ""
