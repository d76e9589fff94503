"""What a person says: let a study go on, send again."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from node.errors import NodeError
from node.identity import disagreement
from node.ledger import schema
from node.ledger.clock import now
from node.ledger.database import Ledger
from node.ledger.receiving import identities_in
from node.ledger.records import Directions, Job
from node.ledger.rows import (
    add_note,
    is_held,
    lock_study,
    newest_version,
    open_study,
    plan_delivery,
    release,
    update_deliveries,
    update_dispatch,
    update_study,
    update_version,
)
from node.ledger.states import DeliveryState, DispatchState, StudyState, VersionState


@dataclass(frozen=True, slots=True)
class ByHand:
    """What the commands `release` and `retry` do."""

    ledger: Ledger

    def release_study(self, study_uid: str) -> str:
        """Let a held or excluded study go on, on a person's word; return what follows.

        Raises NodeError if there is nothing to release, or if its objects disagree about the
        patient: no word of a person's makes a guess of ours safe.
        """
        with self.ledger.writing() as db:
            query = sa.select(schema.study).where(schema.study.c.study_uid == study_uid)
            study = db.execute(query.with_for_update()).one_or_none()
            if study is None:
                raise NodeError(f"study {study_uid} is not known here; `ai-node studies` lists all")
            if is_held(study) and (why := disagreement(identities_in(db, study_uid))):
                raise NodeError(
                    f"study {study_uid} stays held: {why}. Correct it in the archive and "
                    "send all its images again, or send a rejection note for the wrong ones"
                )
            return _release_by_hand(db, study)

    def retry_dead(self, deliver_within_s: float, substitutes: Collection[str] = ()) -> int:
        """Queue anew what was given up or refused, for the reconcile sweep to pick up.

        What was replaced by an object of a kind in `substitutes` that was refused, too, is tried
        again in its place. Returns how many report sets.
        """
        with self.ledger.writing() as db:
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
        with self.ledger.reading() as db:
            studies = [row.study_uid for row in db.execute(undirected())]
        sent = 0
        for study_uid in studies:
            with self.ledger.writing() as db:
                study = lock_study(db, study_uid)
                version = schema.study_version
                row = db.execute(undirected().where(version.c.study_uid == study_uid)).first()
                if row is not None:
                    job = Job("process", study_uid, row.number, row.attempt)
                    sent += _direct(db, job, directions(study.sender), deliver_within_s)
        return sent, len(studies) - sent


def _release_by_hand(db: sa.Connection, study: sa.Row[Any]) -> str:
    newest = newest_version(db, study)
    state = newest.state if newest is not None and study.state == StudyState.CLOSED else None
    is_excluded = state == VersionState.EXCLUDED and not study.is_by_hand
    # Closed while no model was there for it, which may be otherwise now.
    is_stranded = state in (VersionState.OUT_OF_SCOPE, VersionState.CANCELLED) and not is_held(
        study
    )
    if not is_held(study) and not is_excluded and not is_stranded:
        raise NodeError(f"study {study.study_uid} is neither held nor excluded")
    release(db, study.study_uid, "by hand")
    if is_excluded or is_stranded:
        is_by_hand = study.is_by_hand or is_excluded
        db.execute(update_study(study.study_uid).values(is_by_hand=is_by_hand))
        open_study(db, study)
    if is_stranded:
        return "it is analysed once it is complete, if a model reads it now"
    is_open = lock_study(db, study.study_uid).state == StudyState.RECEIVING
    return "it is analysed once it is complete" if is_open else "what is left of it goes on"


def undirected() -> sa.Select[Any]:
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
