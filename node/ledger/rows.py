"""Single rows: how they are locked, found and changed, and what guards them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from node.errors import Superseded
from node.ledger import schema
from node.ledger.clock import now
from node.ledger.order import due_at, wait_s
from node.ledger.records import Job, parse_view
from node.ledger.states import (
    DeliveryState,
    DispatchState,
    HeldBecause,
    MessageKind,
    Stage,
    StudyState,
    VersionState,
)
from node.result import Priority
from node.store import Store
from node.study import Instance, Shown

log = logging.getLogger(__name__)

QUARANTINE_AFTER = 2
"""Crashes after which a study is processed alone."""

GIVE_UP_AFTER = 5
"""Crashes, or failures, after which a study is answered "not analysed", its pixels untouched."""

DELAY_MAX_S = 300.0
"""The longest wait for a machine that is in trouble."""


_ENDED_BY_ITSELF = (HeldBecause.IDENTITY, HeldBecause.DESTINATION, HeldBecause.MISSING)
"""What ends when corrected images come, or all images again; from all else only a person releases
a study."""


def insert_into(db: sa.Connection, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
    """Begin an INSERT that knows ON CONFLICT."""
    return postgresql.insert(table) if db.dialect.name == "postgresql" else sqlite.insert(table)


def lock_study(db: sa.Connection, study_uid: str) -> sa.Row[Any]:
    """Lock and return the study's row. SQLite ignores FOR UPDATE: BEGIN IMMEDIATE has locked."""
    query = sa.select(schema.study).where(schema.study.c.study_uid == study_uid)
    return db.execute(query.with_for_update()).one()


def find_locked(db: sa.Connection, study_uid: str) -> sa.Row[Any] | None:
    """Lock and return the row of a study that may be forgotten; None if it is."""
    query = sa.select(schema.study).where(schema.study.c.study_uid == study_uid)
    return db.execute(query.with_for_update()).one_or_none()


def as_instance(row: sa.Row[Any], store: Store) -> Instance:
    """Return an instance as its row describes it."""
    return Instance(
        study_uid=row.study_uid,
        series_uid=row.series_uid,
        sop_uid=row.sop_uid,
        sop_class=row.sop_class,
        transfer_syntax=row.transfer_syntax,
        modality=row.modality,
        path=store.path(row.path),
        digest=row.digest,
        body_part=row.body_part or "",
        view=parse_view(row.view),
        is_standard=row.is_standard,
        identity=row.identity or "",
        details=row.details or "",
    )


SHOWN = tuple(
    schema.instance.c[name]
    for name in ("modality", "sop_class", "body_part", "view", "is_standard")
)
"""The columns that `shown_in` needs: what thousands of instances have in common, so no details."""


def shown_in(row: sa.Row[Any]) -> Shown:
    """Return what an instance shows but for its details, as its row says."""
    return Shown(
        modality=row.modality,
        sop_class=row.sop_class,
        body_part=row.body_part or "",
        view=parse_view(row.view),
        is_standard=row.is_standard,
    )


def add_note(db: sa.Connection, study_uid: str, event: str) -> None:
    """Add a line to a study's history."""
    db.execute(schema.history.insert().values(at=now(), study_uid=study_uid, event=event))


def note_once(db: sa.Connection, study_uid: str, event: str) -> bool:
    """Add a line to the history of a locked study unless it is there; return whether it was not."""
    table = schema.history
    same = sa.select(table.c.id).where(table.c.study_uid == study_uid, table.c.event == event)
    if db.execute(same.limit(1)).first() is not None:
        return False
    add_note(db, study_uid, event)
    return True


def ask_to_tell(db: sa.Connection, study_uid: str) -> None:
    """Have it seen to that reading lists are told what is true of a study now (`flow.telling`).

    Asked within each transaction that changes its level, whose it is, or whether that is certain.
    """
    insert = insert_into(db, schema.study_to_tell).values(study_uid=study_uid, asked_at=now())
    at_once = {"asked_at": now(), "next_at": None, "is_looked_at": False}
    db.execute(insert.on_conflict_do_update(index_elements=["study_uid"], set_=at_once))


def update_study(study_uid: str) -> sa.Update:
    """Begin an UPDATE of a study."""
    return schema.study.update().where(schema.study.c.study_uid == study_uid)


def is_held(study: sa.Row[Any]) -> bool:
    """Return whether nothing of the study may be analysed or sent."""
    return study.held_reason is not None


def hold(db: sa.Connection, study_uid: str, because: HeldBecause, reason: str) -> None:
    """Analyse and send nothing of a study; what it was held for first stays the reason.

    Unless that ends by itself, and somebody must look at the pixels before.
    """
    study = lock_study(db, study_uid)
    ends_by_itself = study.held_because in _ENDED_BY_ITSELF
    if is_held(study) and not (ends_by_itself and because == HeldBecause.PIXELS):
        return
    level = logging.ERROR if because not in _ENDED_BY_ITSELF else logging.WARNING
    log.log(level, "Study %s is held: %s", study_uid, reason, extra={"study": study_uid})
    db.execute(update_study(study_uid).values(held_because=because, held_reason=reason))
    ask_to_tell(db, study_uid)
    add_note(db, study_uid, f"held: {reason}")


def release(db: sa.Connection, study_uid: str, why: str) -> None:
    """Let a held study go on where it was stopped; to deliver it, it has as long as at first."""
    db.execute(update_study(study_uid).values(held_because=None, held_reason=None))
    ask_to_tell(db, study_uid)
    add_note(db, study_uid, f"released: {why}")
    study = lock_study(db, study_uid)
    newest = newest_version(db, study)
    if newest is None or newest.revision != study.revision:
        return  # nothing of it goes on, whatever it was held for
    if newest.state == VersionState.CANCELLED:
        open_study(db, study)
    if newest.state == VersionState.FINISHED and study.level != newest.level:
        change_level(db, study, newest.level, is_demonstration=newest.is_demonstration)
        after = newest.level or "none"
        add_note(db, study_uid, f"triage level: {study.level} while held, now {after}")
    dispatch = schema.dispatch  # the reconcile sweep takes these up
    db.execute(
        dispatch.update()
        .where(dispatch.c.study_uid == study_uid, dispatch.c.number == study.version)
        .where(dispatch.c.state == DispatchState.CANCELLED)
        .values(
            state=DispatchState.QUEUED,
            attempt=dispatch.c.attempt + 1,  # the last one has ended, and said why
            error=None,
            next_at=None,
            due_at=now() + wait_s(Stage.REPORT, newest.level),
            deadline_at=now() + dispatch.c.deadline_at - (newest.finished_at or newest.closed_at),
        )
    )


def raise_level(
    db: sa.Connection, study: sa.Row[Any], level: Priority, *, is_demonstration: bool
) -> bool:
    """Let a study have at least this triage level; return whether it has it only now.

    What may lower it: a version that is finished, and the release of a held study.
    """
    if study.level is not None and study.level >= level:
        return False
    change_level(db, study, level, is_demonstration=is_demonstration)
    return True


def change_level(
    db: sa.Connection, study: sa.Row[Any], level: Priority | None, *, is_demonstration: bool
) -> None:
    """Let a study have this triage level, or none, and say whether a demonstration gave it.

    One that has become higher is read again, whoever has read it; the row is the locked one.
    """
    values: dict[str, Any] = {
        "level": level,
        "is_demonstration": level is not None and is_demonstration,
    }
    if study.read_at is not None and is_risen(study.level, level):
        values |= {"read_at": None, "read_by": None}
        words = "was found after somebody had marked the study as read, which it is no longer"
        add_note(db, study.study_uid, f"triage level {level} {words}")
    db.execute(update_study(study.study_uid).values(values))
    ask_to_tell(db, study.study_uid)


def is_risen(before: Priority | None, after: Priority | None) -> bool:
    """Return whether a study is to be read sooner than before."""
    return max(after or Priority.ROUTINE, Priority.ROUTINE) > (before or Priority.ROUTINE)


def newest_version(db: sa.Connection, study: sa.Row[Any]) -> sa.Row[Any] | None:
    """Return the newest version, None if there is none."""
    table = schema.study_version
    query = sa.select(table).where(table.c.study_uid == study.study_uid)
    return db.execute(query.where(table.c.number == study.version)).one_or_none()


def open_study(
    db: sa.Connection, study: sa.Row[Any], changes: Mapping[str, Any] = MappingProxyType({})
) -> None:
    """Let the study be settled again, as if something had just come; make other changes with it."""
    values: dict[str, Any] = {"last_at": now(), **changes}
    if study.state == StudyState.CLOSED:
        values |= {"state": StudyState.RECEIVING, "first_at": now()}
    db.execute(update_study(study.study_uid).values(values))


def revise(db: sa.Connection, study_uid: str, reason: str) -> None:
    """Let nothing go out any more that was made from what was known of the images before."""
    study = lock_study(db, study_uid)
    values = {"revision": study.revision + 1, "revision_reason": reason}
    db.execute(update_study(study_uid).values(values))
    ask_to_tell(db, study_uid)


def find_obstacle(db: sa.Connection, study: sa.Row[Any], job: Job) -> str | None:
    """Return why nothing of this version may be analysed or sent any more, or None."""
    if is_held(study):
        return str(study.held_reason)
    if study.version != job.number:
        return "a newer version exists"
    if study.revision != version_row(db, job).revision:
        return f"made before its images changed: {study.revision_reason}"
    return None


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


def end_version(db: sa.Connection, job: Job, state: VersionState, error: str | None) -> None:
    """Put a study version into a final state."""
    db.execute(update_version(job).values(state=state, owner=None, error=error, finished_at=now()))
    words = f"version {job.number} {state}"
    add_note(db, job.study_uid, f"{words}: {error}" if error else words)


def is_given_up(version: sa.Row[Any]) -> bool:
    """Return whether a version ended badly so often that only an answer is left to give."""
    return bool(max(version.crashes, version.failures) >= GIVE_UP_AFTER)


def give_up_for_good(db: sa.Connection, job: Job, error: str) -> None:
    """Hold the study of a version of which not even the answer could be given."""
    reason = f"its report could not be built ({error})"
    hold(db, job.study_uid, HeldBecause.REPORT, reason)
    end_version(db, job, VersionState.CANCELLED, reason)


def grown_s(delay_s: float, times: int) -> float:
    """Return how long to wait after the same trouble for the so-and-so-many-th time."""
    return min(delay_s * 2.0 ** min(times - 1, 30), DELAY_MAX_S)


def plan_delivery(
    db: sa.Connection,
    version: Job,
    destination: str,
    sop_uids: Sequence[str],
    deliver_within_s: float,
    level: Priority | None,
) -> Job | None:
    """Record that a destination is to get these reports of a version; return the job of it.

    `level` is the study's, by which what is sent waits for its turn.
    """
    if not sop_uids:
        return None
    due = delivery_due_at(db, level)
    of_version = {"study_uid": version.study_uid, "number": version.number}
    to = of_version | {"destination": destination}
    whole = {"state": DispatchState.QUEUED, "deadline_at": now() + deliver_within_s, "due_at": due}
    db.execute(schema.dispatch.insert().values(to | whole))
    each = to | {"state": DeliveryState.QUEUED}
    db.execute(schema.delivery.insert(), [each | {"sop_uid": sop_uid} for sop_uid in sop_uids])
    return Job("deliver", version.study_uid, version.number, 1, destination, due_at=due)


def delivery_due_at(db: sa.Connection, level: Priority | None, delay_s: float = 0) -> float:
    """Return when a delivery is due that waits for its turn from now on, or after a delay.

    Each attempt waits anew: after a long outage what waits is no older than what has just come,
    and goes by its level.
    """
    at: float = db.execute(sa.select(now())).scalar_one()
    return due_at(Stage.REPORT, level, at + delay_s)


def message_due_at(
    db: sa.Connection, kind: MessageKind, level: Priority | None, delay_s: float = 0
) -> float:
    """Return when a message is due; what takes something back has no wait at all."""
    if kind == MessageKind.LEVEL:
        return delivery_due_at(db, level, delay_s)
    return float(db.execute(sa.select(now())).scalar_one()) + delay_s


def update_dispatch(job: Job) -> sa.Update:
    """Begin an UPDATE of the job's delivery as a whole."""
    table = schema.dispatch
    return table.update().where(
        table.c.study_uid == job.study_uid,
        table.c.number == job.number,
        table.c.destination == job.destination,
    )


def dispatch_row(db: sa.Connection, job: Job) -> sa.Row[Any]:
    """Return the job's delivery as a whole; raise Superseded if it has another name by now."""
    table = schema.dispatch
    query = (
        sa.select(table)
        .where(table.c.study_uid == job.study_uid, table.c.number == job.number)
        .where(table.c.destination == job.destination)
    )
    return not_renamed(db.execute(query).one_or_none(), job)


def not_renamed(row: sa.Row[Any] | None, job: Job) -> sa.Row[Any]:
    """Return a row; raise Superseded if there is none, for the name of its destination is gone.

    Jobs stay in the queue until they are due.
    """
    if row is None:
        raise Superseded(f"nothing waits for {job.destination} under that name any more")
    return row


def update_deliveries(job: Job) -> sa.Update:
    """Begin an UPDATE of the job's objects."""
    table = schema.delivery
    return table.update().where(
        table.c.study_uid == job.study_uid,
        table.c.number == job.number,
        table.c.destination == job.destination,
    )


def subjects_of(job: Job) -> dict[str, str]:
    """Return what a record of the log about a delivery names beside its words."""
    return {"study": job.study_uid, "destination": job.destination}


class _Named(Protocol):
    @property
    def kind(self) -> str: ...
    @property
    def sop_uid(self) -> str: ...


def named_objects(reports: Sequence[_Named]) -> str:
    """Return which result objects these are, for a line of the log: the first, and how many more.

    Names what is to be looked for on the other side, and nothing of the patient.
    """
    if not reports:
        return "no object"
    first = f"{reports[0].kind} {reports[0].sop_uid}"
    return f"{first} and {len(reports) - 1} more" if reports[1:] else first


def say_given_up(db: sa.Connection, job: Job, error: str) -> None:
    """Say in history and log that a delivery is given up: from now on only a person goes on."""
    add_note(db, job.study_uid, f"given up sending to {job.destination}: {error}")
    objects = named_objects(_lacking_objects(db, job))
    words = "The results of study %s for %s are given up (%s): %s; mend that, then `ai-node retry`"
    log.error(words, job.study_uid, job.destination, objects, error, extra=subjects_of(job))


def _lacking_objects(db: sa.Connection, job: Job) -> Sequence[Any]:
    """Return kind and SOP Instance UID of what a destination has not taken, else not confirmed."""
    report, delivery = schema.report, schema.delivery
    query = (
        sa.select(schema.report_kind, report.c.sop_uid, delivery.c.state)
        .join(delivery, delivery.c.sop_uid == report.c.sop_uid)
        .where(delivery.c.study_uid == job.study_uid, delivery.c.number == job.number)
        .where(delivery.c.destination == job.destination)
        .where(delivery.c.state.not_in((DeliveryState.CONFIRMED, DeliveryState.REPLACED)))
    )
    rows = db.execute(query.order_by(report.c.position)).all()
    return [row for row in rows if row.state != DeliveryState.SENT] or rows


def find_place(db: sa.Connection, node_id: str) -> str | None:
    """Return where a node runs, for people to read."""
    query = sa.select(schema.node.c.place).where(schema.node.c.id == node_id)
    place = db.execute(query).scalar_one_or_none()
    return place and place.rpartition(" ")[0]
