"""8 Deliver: each object of a report set at each destination, from queued to confirmed.

An object is queued, then sent (the destination has accepted it), then confirmed (it has been
found to keep it), refused for good, or replaced by one of another kind. The delivery as a whole
is final when each of them is.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from node.errors import Superseded
from node.ledger import schema
from node.ledger.clock import now
from node.ledger.database import Ledger
from node.ledger.peers import has_taken_since_it_failed, note_delivery
from node.ledger.records import (
    BuiltReport,
    DeliveryEnd,
    Enqueue,
    Job,
    Outcome,
    Patience,
    Shipment,
)
from node.ledger.rows import (
    add_note,
    delivery_due_at,
    dispatch_row,
    find_locked,
    find_obstacle,
    hold,
    lock_study,
    say_given_up,
    subjects_of,
    update_deliveries,
    update_dispatch,
)
from node.ledger.states import DeliveryState, DispatchState, HeldBecause
from node.result import Priority

log = logging.getLogger(__name__)

_NONE: Mapping[str, str] = {}

_MAY_GO_ON = (DispatchState.QUEUED, DispatchState.FINISHED)


@dataclass(frozen=True, slots=True)
class Delivering:
    """The attempts at a delivery."""

    ledger: Ledger
    on_end: Callable[[DeliveryEnd], None] = lambda end: None
    """Told of each end, once it is committed."""

    def begin_dispatch(self, job: Job, node_id: str) -> Shipment:
        """Take a delivery for an attempt, and return what is left to do of it."""
        with self.ledger.writing() as db:
            study = lock_study(db, job.study_uid)
            row = dispatch_row(db, job)
            if row.attempt != job.attempt or row.state.is_final:
                raise Superseded(f"attempt {row.attempt} is {row.state}")
            obstacle = find_obstacle(db, study, job)
            if obstacle is None:
                db.execute(update_dispatch(job).values(state=DispatchState.RUNNING, owner=node_id))
                return _shipment(db, job)
            _cancel(db, job, obstacle)
        raise Superseded(obstacle)  # now that the cancellation is committed

    def require_current(self, job: Job) -> None:
        """Raise Superseded if somebody else has this delivery by now, or nothing may be sent."""
        with self.ledger.reading() as db:
            query = sa.select(schema.study).where(schema.study.c.study_uid == job.study_uid)
            _require_running(db, job)
            obstacle = find_obstacle(db, db.execute(query).one(), job)
        if obstacle is not None:
            raise Superseded(obstacle)

    def record_sent(
        self, job: Job, outcomes: Sequence[Outcome], substitutes: Mapping[str, str] = _NONE
    ) -> Shipment:
        """Record what the destination said of each object; return what is left to do.

        For what it refuses, the objects of the kind that `substitutes` names are due in its place.
        Raises Superseded if nothing more may be sent.
        """
        with self.ledger.writing() as db:
            study = lock_study(db, job.study_uid)
            _require_running(db, job)
            for outcome in outcomes:
                _record_outcome(db, job, outcome)
            refused = {
                outcome.sop_uid for outcome in outcomes if outcome.state == DeliveryState.REFUSED
            }
            _substitute(db, job, refused, substitutes)
            obstacle = find_obstacle(db, study, job)
            if obstacle is not None:
                _cancel(db, job, obstacle)
            note_delivery(db, job.destination, outcomes)
            if obstacle is None:
                return _shipment(db, job)
        raise Superseded(obstacle)  # now that all that is committed

    def ask_commitment(self, job: Job, transaction_uid: str) -> None:
        """Record that the destination is about to be asked to answer for what it accepted."""
        with self.ledger.writing() as db:
            lock_study(db, job.study_uid)
            _require_running(db, job)
            db.execute(
                schema.commitment.insert().values(
                    transaction_uid=transaction_uid,
                    study_uid=job.study_uid,
                    number=job.number,
                    destination=job.destination,
                    asked_at=now(),
                )
            )
            sent = update_deliveries(job).where(schema.delivery.c.state == DeliveryState.SENT)
            db.execute(sent.values(transaction_uid=transaction_uid))

    def forget_commitment(self, job: Job, transaction_uid: str) -> None:
        """Forget a request that the destination does not understand."""
        table = schema.commitment
        with self.ledger.writing() as db:
            lock_study(db, job.study_uid)
            _require_running(db, job)
            db.execute(table.delete().where(table.c.transaction_uid == transaction_uid))
            asked = schema.delivery.c.transaction_uid == transaction_uid
            db.execute(update_deliveries(job).where(asked).values(transaction_uid=None))

    def is_answered(self, transaction_uid: str) -> bool:
        """Return whether a storage commitment report has come."""
        table = schema.commitment
        query = sa.select(table.c.answered_at).where(table.c.transaction_uid == transaction_uid)
        with self.ledger.reading() as db:
            return db.execute(query).scalar_one_or_none() is not None

    def awaits_report(self, destination: str) -> bool:
        """Return whether a destination that was asked has still to say what it keeps."""
        dispatch, delivery = schema.dispatch, schema.delivery
        is_of_it = sa.and_(
            delivery.c.study_uid == dispatch.c.study_uid,
            delivery.c.number == dispatch.c.number,
            delivery.c.destination == dispatch.c.destination,
        )
        query = (
            sa.select(delivery.c.sop_uid)
            .join(dispatch, is_of_it)
            .where(dispatch.c.state.in_((DispatchState.QUEUED, DispatchState.RUNNING)))
            .where(dispatch.c.destination == destination)
            .where(delivery.c.state == DeliveryState.SENT, delivery.c.transaction_uid.is_not(None))
            .limit(1)
        )
        with self.ledger.reading() as db:
            return db.execute(query).first() is not None

    def record_commitment(
        self,
        transaction_uid: str,
        committed: Set[str],
        failed: Mapping[str, str],
        retry_s: Callable[[int], float],
    ) -> bool:
        """Record a storage commitment report; what was not committed is sent again.

        Returns False if the transaction is none of ours. `retry_s` says for an attempt how long
        to wait before the next. Repeats change nothing, nor does what comes after the study was
        forgotten, which nothing was awaited of any more.
        """
        table = schema.commitment
        uid_is = table.c.transaction_uid == transaction_uid
        with self.ledger.writing() as db:
            asked = db.execute(sa.select(table).where(uid_is)).one_or_none()
            if asked is None:
                return False
            study_uid, destination = asked.study_uid, asked.destination
            if find_locked(db, study_uid) is None:
                return True
            db.execute(
                table.update()
                .where(uid_is, table.c.answered_at.is_(None))
                .values(answered_at=now())
            )
            job = Job("deliver", study_uid, asked.number, 0, destination)
            end = None
            if _record_answer(db, job, transaction_uid, committed, failed):
                db.execute(update_dispatch(job).values(asks=0))
                end = _conclude(db, job, retry_s)
        if end is not None:
            self.on_end(end)
        return True

    def finish_dispatch(
        self, job: Job, outcomes: Sequence[Outcome], patience: Patience, enqueue: Enqueue
    ) -> None:
        """End an attempt: with success, with a next one later, or by giving up.

        A refusal is final: the same object would be refused again. What failed for want of its
        destination is hurried once that takes something (`hurrying`); but not if it had just
        taken something: then the attempt itself is why, and would only be made more often.
        """
        with self.ledger.writing() as db:
            study = lock_study(db, job.study_uid)
            row = _require_running(db, job)
            for outcome in outcomes:
                _record_outcome(db, job, outcome)
            left = _errors_by_state(db, job)
            at = db.execute(sa.select(now())).scalar_one()
            if (
                patience.has_asked and DeliveryState.SENT in left
            ):  # else it has been answered meanwhile
                db.execute(update_dispatch(job).values(asks=row.asks + 1))
            waits = {DeliveryState.QUEUED: patience.retry_s}
            if patience.waits_for is not None:
                waits[DeliveryState.SENT] = patience.wait_s
            state = next((state for state in waits if state in left), None)
            error = _why_given_up(left, patience)
            end: DeliveryEnd | None = None
            if state is not None and at + waits[state] <= row.deadline_at:
                delay_s = waits[state]
                reason = left[state] if state == DeliveryState.QUEUED else patience.waits_for
                away = _is_away(db, row, patience)
                enqueue(db, _put_off(db, job, reason, delay_s, study.level, is_unreached=away))
                if state == DeliveryState.QUEUED:
                    end = DeliveryEnd(job.destination, "failed")
            elif error is not None:
                end = _give_up(db, job, error)
            else:
                end = _finish(db, job)
            failure = patience.is_unreached and patience.waits_for
            note_delivery(db, job.destination, outcomes, failure or "")
        if end is not None:
            self.on_end(end)

    def hold_dispatch(self, job: Job, reason: str) -> None:
        """Send nothing of a study: the destination knows it as somebody else's."""
        with self.ledger.writing() as db:
            lock_study(db, job.study_uid)
            _require_running(db, job)
            _cancel(db, job, reason)
            hold(db, job.study_uid, HeldBecause.DESTINATION, reason)
        self.on_end(DeliveryEnd(job.destination, "held"))


def _require_running(db: sa.Connection, job: Job) -> sa.Row[Any]:
    row = dispatch_row(db, job)
    if row.attempt != job.attempt or row.state != DispatchState.RUNNING:
        raise Superseded(f"attempt {row.attempt} is {row.state}")
    return row


def _is_away(db: sa.Connection, row: sa.Row[Any], patience: Patience) -> bool:
    """Return whether an attempt failed for want of its destination, by all that is known of it.

    The first to fail of an outage comes after others were taken. One that fails again, although
    they were taken meanwhile, has hurried in vain: it is its own fault, as when a query for this
    study is never answered. Else each success of others would try it once more.
    """
    is_its_own = row.is_unreached and has_taken_since_it_failed(db, row.destination)
    return patience.is_unreached and not is_its_own


def _cancel(db: sa.Connection, job: Job, reason: str) -> None:
    values: dict[str, Any] = {
        "state": DispatchState.CANCELLED,
        "owner": None,
        "is_unreached": False,
    }
    db.execute(update_dispatch(job).values(values | {"error": reason}))
    add_note(db, job.study_uid, f"nothing more is sent to {job.destination}: {reason}")


def _put_off(
    db: sa.Connection,
    job: Job,
    reason: str | None,
    delay_s: float,
    level: Priority | None,
    *,
    is_unreached: bool = False,
) -> Job:
    """Let a delivery wait; return the job of its next attempt."""
    due = delivery_due_at(db, level, delay_s)
    following = replace(job, attempt=job.attempt + 1, delay_s=delay_s, due_at=due)
    values = {"state": DispatchState.QUEUED, "owner": None, "attempt": following.attempt}
    when = {"next_at": now() + delay_s, "due_at": due, "is_unreached": is_unreached}
    db.execute(update_dispatch(job).values(error=reason, **values, **when))
    return following


def _give_up(db: sa.Connection, job: Job, error: str) -> DeliveryEnd:
    values: dict[str, Any] = {"state": DispatchState.DEAD, "owner": None, "is_unreached": False}
    db.execute(update_dispatch(job).values(values | {"error": error}))
    say_given_up(db, job, error)
    return DeliveryEnd(job.destination, "given up")


def _finish(db: sa.Connection, job: Job) -> DeliveryEnd:
    db.execute(
        update_dispatch(job).values(
            state=DispatchState.FINISHED, owner=None, error=None, next_at=None, is_unreached=False
        )
    )
    is_confirmed = DeliveryState.SENT not in _errors_by_state(db, job)
    how = "delivered to {}, confirmed" if is_confirmed else "accepted by {}, unconfirmed"
    words = how.format(job.destination)
    add_note(db, job.study_uid, words)
    log.info("The results of study %s are %s", job.study_uid, words, extra=subjects_of(job))
    return DeliveryEnd(job.destination, "delivered", _took_s(db, job))


def _took_s(db: sa.Connection, job: Job) -> float | None:
    """Return how long after the last image the last object was stored, None if there is none."""
    version, delivery = schema.study_version, schema.delivery
    sent_at = sa.select(sa.func.max(delivery.c.sent_at)).where(
        delivery.c.study_uid == job.study_uid,
        delivery.c.number == job.number,
        delivery.c.destination == job.destination,
    )
    took_s = sent_at.scalar_subquery() - version.c.last_image_at
    query = sa.select(took_s).where(version.c.study_uid == job.study_uid)
    found: float | None = db.execute(query.where(version.c.number == job.number)).scalar_one()
    return found


def _shipment(db: sa.Connection, job: Job) -> Shipment:
    rows = db.execute(
        sa.select(
            *(schema.report.c[name] for name in ("sop_uid", "sop_class", "path", "digest")),
            schema.report_kind,
            schema.delivery.c.state,
        )
        .join(schema.delivery, schema.delivery.c.sop_uid == schema.report.c.sop_uid)
        .where(schema.report.c.study_uid == job.study_uid)
        .where(schema.report.c.number == job.number)
        .where(schema.delivery.c.destination == job.destination)
        .order_by(schema.report.c.position)
    ).all()
    by_state: defaultdict[DeliveryState, list[BuiltReport]] = defaultdict(list)
    for row in rows:
        report = BuiltReport(row.sop_uid, row.kind, row.sop_class, row.path, row.digest)
        by_state[row.state].append(report)
    whole = dispatch_row(db, job)
    return Shipment(
        to_send=tuple(by_state[DeliveryState.QUEUED]),
        to_confirm=tuple(by_state[DeliveryState.SENT]),
        asks=whole.asks,
        waited_for_it=whole.is_unreached,
    )


def _errors_by_state(db: sa.Connection, job: Job) -> dict[DeliveryState, str]:
    """Return an error for each state that objects of the job are in and that is not the last."""
    table = schema.delivery
    rows = db.execute(
        sa.select(table.c.state, table.c.error)
        .where(table.c.study_uid == job.study_uid, table.c.number == job.number)
        .where(table.c.destination == job.destination)
        .where(table.c.state.not_in((DeliveryState.CONFIRMED, DeliveryState.REPLACED)))
        .order_by(table.c.sop_uid)
    ).all()
    return {row.state: row.error or "not sent yet" for row in rows}


def _why_given_up(left: Mapping[DeliveryState, str], patience: Patience) -> str | None:
    """Return why a delivery that is not tried again is dead, None if it is done."""
    if DeliveryState.QUEUED in left:
        return left[DeliveryState.QUEUED]
    if DeliveryState.SENT in left and (patience.waits_for or patience.gives_up):
        return patience.gives_up or f"accepted, but never confirmed: {patience.waits_for}"
    return left.get(DeliveryState.REFUSED)


def _record_outcome(db: sa.Connection, job: Job, outcome: Outcome) -> None:
    values: dict[str, Any] = {"state": outcome.state, "error": outcome.error}
    if outcome.state == DeliveryState.SENT:
        values["sent_at"] = now()
    if outcome.state == DeliveryState.CONFIRMED:
        values |= {"confirmed_at": now(), "confirmed_by": outcome.confirmed_by}
    open_ones = update_deliveries(job).where(
        schema.delivery.c.state.in_((DeliveryState.QUEUED, DeliveryState.SENT))
    )
    db.execute(open_ones.where(schema.delivery.c.sop_uid == outcome.sop_uid).values(values))


def _substitute(
    db: sa.Connection, job: Job, refused: Set[str], substitutes: Mapping[str, str]
) -> None:
    """Plan what goes in place of refused objects, where there is something."""
    report, delivery = schema.report, schema.delivery
    reports = db.execute(
        sa.select(schema.report_kind, report.c.sop_uid)
        .where(report.c.study_uid == job.study_uid, report.c.number == job.number)
        .order_by(report.c.position)
    ).all()
    there = {row.kind for row in reports}
    replaced = [
        row for row in reports if row.sop_uid in refused and substitutes.get(row.kind) in there
    ]
    if not replaced:
        return
    uids = delivery.c.sop_uid.in_([row.sop_uid for row in replaced])
    db.execute(update_deliveries(job).where(uids).values(state=DeliveryState.REPLACED))
    of_destination = delivery.c.destination == job.destination
    planned = set(db.scalars(sa.select(delivery.c.sop_uid).where(of_destination)))
    instead = {substitutes[row.kind] for row in replaced}
    for row in reports:
        if row.kind not in instead or row.sop_uid in planned:
            continue
        db.execute(
            delivery.insert().values(
                sop_uid=row.sop_uid,
                destination=job.destination,
                study_uid=job.study_uid,
                number=job.number,
                state=DeliveryState.QUEUED,
            )
        )
    words = f"{job.destination} refuses one kind of report; the other goes in its place"
    add_note(db, job.study_uid, words)


def _record_answer(
    db: sa.Connection,
    job: Job,
    transaction_uid: str,
    committed: Set[str],
    failed: Mapping[str, str],
) -> bool:
    """Return whether the report says anything new.

    What is kept is kept, whichever request it answers; what is not kept may have been sent again
    since an older one.
    """
    table = schema.delivery
    sent = update_deliveries(job).where(table.c.state == DeliveryState.SENT)
    confirmed = {
        "state": DeliveryState.CONFIRMED,
        "confirmed_by": "commitment",
        "error": None,
    }
    uids = [uid for uid in committed if uid not in failed]
    of_uids = sent.where(table.c.sop_uid.in_(uids))
    changed = db.execute(of_uids.values(confirmed | {"confirmed_at": now()})).rowcount
    asked = sent.where(table.c.transaction_uid == transaction_uid)
    lost = 0
    for uid, why in failed.items():
        error = f"{job.destination} accepted it, but does not answer for it: {why}"
        not_kept = {"state": DeliveryState.QUEUED, "error": error, "transaction_uid": None}
        lost += db.execute(asked.where(table.c.sop_uid == uid).values(not_kept)).rowcount
    if lost:
        words = "%s does not answer for %d objects of study %s that it accepted; they go again"
        log.warning(words, job.destination, lost, job.study_uid, extra=subjects_of(job))
    return changed + lost > 0


def _conclude(db: sa.Connection, job: Job, retry_s: Callable[[int], float]) -> DeliveryEnd | None:
    """Let a delivery that waits for an answer go on; one that is running sees by itself."""
    row = dispatch_row(db, job)
    left = _errors_by_state(db, job)
    if not left and row.state in (*_MAY_GO_ON, DispatchState.DEAD):
        end = _finish(db, job)
        return None if row.state == DispatchState.FINISHED else end
    if DeliveryState.QUEUED in left and row.state in _MAY_GO_ON:
        level = lock_study(db, job.study_uid).level
        reason = left[DeliveryState.QUEUED]
        # The reconcile sweep takes it up: nobody has a job of this attempt.
        _put_off(db, replace(job, attempt=row.attempt), reason, retry_s(row.attempt), level)
        return DeliveryEnd(job.destination, "failed")
    return None
