"""What a person says: let a study go on, send again, it has been read; and who said so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from node.errors import NodeError
from node.identity import disagreement
from node.ledger import schema
from node.ledger.clock import now
from node.ledger.database import Ledger
from node.ledger.received_rows import identities_in
from node.ledger.records import Directions, Job
from node.ledger.remembering import lock_known
from node.ledger.rows import (
    add_note,
    delivery_due_at,
    is_held,
    is_risen,
    lock_study,
    message_due_at,
    newest_version,
    open_study,
    plan_delivery,
    release,
    update_deliveries,
    update_dispatch,
    update_study,
    update_version,
)
from node.ledger.states import DeliveryState, DispatchState, MessageKind, StudyState, VersionState
from node.result import Priority

_AT_ONCE = 50
"""In one transaction."""

_SAME_TIME_S = 0.001
"""A time that went through a form and came back may be a little other."""


@dataclass(frozen=True, slots=True)
class Seen:
    """How a study was when somebody was shown it."""

    last_image_at: float
    """Epoch seconds, UTC."""
    level: Priority | None


@dataclass(frozen=True, slots=True)
class ByHand:
    """What people do by the commands `release` and `retry`, and on the page.

    Who did it (`by`) is in the study's history: the name of a user of the page, or of whoever
    called a command; "" if nobody knows.
    """

    ledger: Ledger

    def release_study(self, study_uid: str, *, by: str = "") -> str:
        """Let a held or excluded study go on, on a person's word; return what follows.

        Raises NodeError if there is nothing to release, or if its objects disagree about the
        patient: no word of a person's makes a guess of ours safe.
        """
        with self.ledger.writing() as db:
            study = lock_known(db, study_uid)
            if is_held(study) and (why := disagreement(identities_in(db, study_uid))):
                raise NodeError(
                    f"study {study_uid} stays held: {why}. Correct it in the archive and "
                    "send all its images again, or send a rejection note for the wrong ones"
                )
            return _release_by_hand(db, study, by)

    def retry_dead(
        self,
        deliver_within_s: float,
        substitutes: Collection[str] = (),
        *,
        destination: str = "",
        by: str = "",
    ) -> int:
        """Queue anew what was given up or refused, for the reconcile sweep to pick up.

        All of it, or what is for one destination. What was replaced by an object of a kind in
        `substitutes` that was refused, too, is tried again in its place. Returns how many report
        sets.
        """
        return self._each_dead(
            schema.dispatch,
            destination,
            lambda db, row: _send_again(db, row, deliver_within_s, substitutes, by),
        )

    def retry_dead_messages(
        self, deliver_within_s: float, *, destination: str = "", by: str = ""
    ) -> int:
        """Queue anew what a reading list did not take, the same message; return how many."""
        return self._each_dead(
            schema.message, destination, lambda db, row: _tell_again(db, row, deliver_within_s, by)
        )

    def _each_dead(
        self, table: sa.Table, destination: str, again: Callable[[sa.Connection, sa.Row[Any]], bool]
    ) -> int:
        """Do something with each that was given up, some at once; return of how many it is true."""
        query = _for(destination, _dead(table), table).order_by(table.c.study_uid)
        count, last = 0, ""
        while True:
            with self.ledger.writing() as db:
                # Each study once: what is given up again meanwhile is not tried without an end.
                rows = db.execute(query.where(table.c.study_uid > last).limit(_AT_ONCE)).all()
                if not rows:
                    return count
                last = rows[-1].study_uid
                others = query.where(table.c.study_uid == last)
                whole = [*(row for row in rows if row.study_uid != last), *db.execute(others)]
                count += sum(again(db, row) for row in whole)

    def hurry_waiting(self, *, destination: str = "", by: str = "") -> Counter[str]:
        """Let go at once what waits for another attempt, for the reconcile sweep to pick up.

        Whatever it failed for, unlike `Hurrying`: a person may have mended that. Returns how many
        report sets and messages, by destination.
        """
        found: Counter[str] = Counter()
        for table in (schema.dispatch, schema.message):
            while hurried := self._hurry_some(table, destination, by):
                found.update(hurried)
        return found

    def _hurry_some(self, table: sa.Table, destination: str, by: str) -> list[str]:
        with self.ledger.writing() as db:
            query = _for(destination, _waiting(table), table).order_by(table.c.study_uid)
            rows = db.execute(query.limit(_AT_ONCE)).all()
            # The study before its delivery, as everybody else does, who may have changed it.
            return [row.destination for row in rows if _hurry(db, table, row, by)]

    def awaiting_confirmation(self, *, destination: str = "") -> Counter[str]:
        """Return how many report sets wait for nothing but a destination's word, by destination."""
        table = schema.dispatch
        query = sa.select(table.c.destination, sa.func.count()).where(
            table.c.state == DispatchState.QUEUED,
            table.c.next_at > now(),
            sa.not_(_is_to_be_tried(table)),
        )
        with self.ledger.reading() as db:
            found = db.execute(_for(destination, query, table).group_by(table.c.destination))
            return Counter({name: count for name, count in found})

    def destinations(self) -> list[str]:
        """Return for whom something is not delivered yet, or was given up."""
        is_left = (DispatchState.QUEUED, DispatchState.RUNNING, DispatchState.DEAD)
        names: set[str] = set()
        with self.ledger.reading() as db:
            for table in (schema.dispatch, schema.message):
                query = sa.select(table.c.destination).where(table.c.state.in_(is_left))
                names |= set(db.execute(query.distinct()).scalars())
        return sorted(names)

    def retry_undirected(
        self, directions: Directions, deliver_within_s: float, *, by: str = ""
    ) -> tuple[int, int]:
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
                sent += _direct_again(db, study, directions, deliver_within_s, by)
        return sent, len(studies) - sent

    def retry_study(
        self,
        study_uid: str,
        deliver_within_s: float,
        directions: Directions,
        substitutes: Collection[str] = (),
        *,
        destination: str = "",
        by: str = "",
    ) -> str:
        """Do for one study what the others do for all; say what follows.

        Raises NodeError if nothing of it was given up or waits for another attempt, or if it still
        goes nowhere.
        """
        with self.ledger.writing() as db:
            study = lock_known(db, study_uid)
            again: set[str] = set()
            dead = _for(destination, _dead(schema.dispatch), schema.dispatch)
            for row in _of(db, study, dead, schema.dispatch):
                if _send_again(db, row, deliver_within_s, substitutes, by):
                    again.add(row.destination)
            dead_messages = _for(destination, _dead(schema.message), schema.message)
            for row in _of(db, study, dead_messages, schema.message):
                if _tell_again(db, row, deliver_within_s, by):
                    again.add(row.destination)
            hurried = {
                row.destination
                for table in (schema.dispatch, schema.message)
                for row in _of(db, study, _for(destination, _waiting(table), table), table)
                if _hurry(db, table, row, by)
            }
            words = [f"sent again to {', '.join(sorted(again))}"] if again else []
            words += [f"tried now: {', '.join(sorted(hurried))}"] if hurried else []
            may_direct = not words and not destination
            if may_direct and _direct_again(db, study, directions, deliver_within_s, by):
                words = ["its results, which had no destination, are sent now"]
            if not words:
                raise NodeError(_why_not_again(db, study, destination))
            return "; ".join(words)

    def mark_read(self, study_uid: str, by: str, *, seen: Seen | None = None) -> None:
        """Record that a person has read a study, which so leaves the list.

        Raises NodeError if it is not known, has been marked before, or if an image of it has come,
        or its level has risen, since the person was shown it.
        """
        with self.ledger.writing() as db:
            study = lock_known(db, study_uid)
            if study.read_at is not None:
                raise NodeError(f"study {study_uid} was marked as read before, by {study.read_by}")
            if seen is not None and study.last_image_at > seen.last_image_at + _SAME_TIME_S:
                raise NodeError(
                    f"study {study_uid} has got more images since this page was made: look at it "
                    "again"
                )
            if seen is not None and is_risen(seen.level, study.level):
                raise NodeError(
                    f"study {study_uid} has become {study.level} since this page was made: look "
                    "at it again"
                )
            db.execute(update_study(study_uid).values(read_at=now(), read_by=by))
            add_note(db, study_uid, f"marked as read{_by(by)}")

    def mark_unread(self, study_uid: str, by: str) -> None:
        """Take that back. Raises NodeError if nobody has said it."""
        with self.ledger.writing() as db:
            study = lock_known(db, study_uid)
            if study.read_at is None:
                raise NodeError(f"study {study_uid} is not marked as read")
            db.execute(update_study(study_uid).values(read_at=None, read_by=None))
            add_note(db, study_uid, f"no longer marked as read{_by(by)}")


def _by(who: str) -> str:
    return f" by {who}" if who else ""


def _dead(table: sa.Table) -> sa.Select[Any]:
    return sa.select(table).where(table.c.state == DispatchState.DEAD)


def _for(destination: str, query: sa.Select[Any], table: sa.Table) -> sa.Select[Any]:
    """Narrow a query to one destination, if one is named."""
    return query.where(table.c.destination == destination) if destination else query


def _of(
    db: sa.Connection, study: sa.Row[Any], query: sa.Select[Any], table: sa.Table
) -> Iterator[sa.Row[Any]]:
    yield from db.execute(query.where(table.c.study_uid == study.study_uid)).all()


def _waiting(table: sa.Table) -> sa.Select[Any]:
    """Select what waits for another attempt, and not only for a word on what was taken."""
    return sa.select(table).where(
        table.c.state == DispatchState.QUEUED, table.c.next_at > now(), _is_to_be_tried(table)
    )


def _is_to_be_tried(table: sa.Table) -> sa.ColumnElement[bool]:
    """Whether something is to be sent, or could not even be asked about."""
    if table is not schema.dispatch:
        return sa.true()
    delivery = schema.delivery
    is_its = [delivery.c[name] == table.c[name] for name in ("study_uid", "number", "destination")]
    has_unsent = sa.exists().where(*is_its, delivery.c.state == DeliveryState.QUEUED)
    return sa.or_(table.c.is_unreached, has_unsent)


def _hurry(db: sa.Connection, table: sa.Table, row: sa.Row[Any], by: str) -> bool:
    """Let one go at once, as an attempt of its own; return False if it has gone meanwhile."""
    study = lock_study(db, row.study_uid)
    is_it = [column == row._mapping[column.name] for column in table.primary_key.columns]
    is_same = [table.c.state == DispatchState.QUEUED, table.c.attempt == row.attempt]
    kind = row.kind if table is schema.message else MessageKind.LEVEL
    due_at = message_due_at(db, kind, study.level)
    values = {"attempt": row.attempt + 1, "next_at": None, "due_at": due_at}
    if not db.execute(table.update().where(*is_it, *is_same).values(values)).rowcount:
        return False
    add_note(db, row.study_uid, f"tried at once at {row.destination}, by hand{_by(by)}")
    return True


def _tell_again(db: sa.Connection, row: sa.Row[Any], deliver_within_s: float, by: str) -> bool:
    """Queue a message anew that was given up: the same bytes, as an attempt of its own.

    Returns False if it is so no more: a newer one has taken its place meanwhile, or another person
    has done so.
    """
    table = schema.message
    study = lock_study(db, row.study_uid)
    again = {
        "state": DispatchState.QUEUED,
        "attempt": row.attempt + 1,
        "failures": 0,
        "deadline_at": now() + deliver_within_s,
        "next_at": None,
        "due_at": message_due_at(db, row.kind, study.level),
        "is_unreached": False,
    }
    is_it = table.c.control_id == row.control_id
    if not db.execute(table.update().where(is_it, *_still_dead(table, row)).values(again)).rowcount:
        return False
    add_note(db, row.study_uid, f"told {row.destination} again by hand{_by(by)}")
    return True


def _still_dead(table: sa.Table, row: sa.Row[Any]) -> tuple[sa.ColumnElement[bool], ...]:
    """Return that it is as it was found, before its study was locked."""
    return table.c.state == DispatchState.DEAD, table.c.attempt == row.attempt


def _send_again(
    db: sa.Connection,
    row: sa.Row[Any],
    deliver_within_s: float,
    substitutes: Collection[str],
    by: str,
) -> bool:
    """Queue a report set anew that was given up, as an attempt of its own.

    Returns False if it is so no more.
    """
    job = Job("deliver", row.study_uid, row.number, row.attempt, row.destination)
    again = {
        "state": DispatchState.QUEUED,
        "attempt": row.attempt + 1,  # the last one has ended, and said how
        "deadline_at": now() + deliver_within_s,
        "next_at": None,
        "due_at": delivery_due_at(db, lock_study(db, row.study_uid).level),
        "asks": 0,
    }
    is_still = _still_dead(schema.dispatch, row)
    if not db.execute(update_dispatch(job).where(*is_still).values(again)).rowcount:
        return False
    _undo_substitution(db, job, substitutes)
    refused = update_deliveries(job).where(schema.delivery.c.state == DeliveryState.REFUSED)
    db.execute(refused.values(state=DeliveryState.QUEUED))
    add_note(db, row.study_uid, f"sent again to {row.destination} by hand{_by(by)}")
    return True


def _direct_again(
    db: sa.Connection,
    study: sa.Row[Any],
    directions: Directions,
    deliver_within_s: float,
    by: str,
) -> bool:
    """Plan the deliveries of a study whose results had no destination; return if there are any."""
    query = undirected().where(schema.study_version.c.study_uid == study.study_uid)
    row = db.execute(query).first()
    if row is None:
        return False
    job = Job("process", study.study_uid, row.number, row.attempt)
    return _direct(db, job, directions(study.sender), deliver_within_s, study.level, by)


def _why_not_again(db: sa.Connection, study: sa.Row[Any], destination: str) -> str:
    names = {
        row.destination
        for table in (schema.dispatch, schema.message)
        for row in _of(db, study, sa.select(table.c.destination), table)
    }
    if destination and destination not in names:
        others = f"; what goes out of it goes to {', '.join(sorted(names))}" if names else ""
        return f"nothing of study {study.study_uid} is for {destination}{others}"
    if is_held(study):
        return (
            f"study {study.study_uid} is held ({study.held_reason}), and nothing of it is sent: "
            "look at it, then `ai-node release`, or send its corrected images"
        )
    query = undirected().where(schema.study_version.c.study_uid == study.study_uid)
    if db.execute(query).first() is not None:
        return (
            f"the results of study {study.study_uid} still go nowhere: nobody gets them, or not "
            "these kinds of object"
        )
    at = f" to {destination}" if destination else ""
    return (
        f"no delivery of study {study.study_uid}{at} was given up, and none waits for another "
        "attempt: what is under way goes on by itself, and what a destination took waits for its "
        "word"
    )


def _release_by_hand(db: sa.Connection, study: sa.Row[Any], by: str) -> str:
    newest = newest_version(db, study)
    state = newest.state if newest is not None and study.state == StudyState.CLOSED else None
    is_excluded = state == VersionState.EXCLUDED and not study.is_by_hand
    # Closed while no model was there for it, which may be otherwise now.
    is_stranded = state in (VersionState.OUT_OF_SCOPE, VersionState.CANCELLED) and not is_held(
        study
    )
    if not is_held(study) and not is_excluded and not is_stranded:
        raise NodeError(f"study {study.study_uid} is neither held nor excluded")
    release(db, study.study_uid, f"by hand{_by(by)}")
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
    level: Priority | None,
    by: str,
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
        if plan_delivery(db, job, destination, wanted, deliver_within_s, level):
            objects = f"{len(wanted)} of {len(reports)} objects"
            note = f"sent to {destination} by hand{_by(by)}: {objects}"
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
