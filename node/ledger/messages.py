"""Messages to reading lists: the attempts at sending one that `ledger.telling` has recorded."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import sqlalchemy as sa

from node.errors import Superseded
from node.ledger import schema
from node.ledger.clock import now
from node.ledger.database import Ledger
from node.ledger.peers import has_taken_since_it_failed, note_delivery
from node.ledger.records import DeliveryEnd, Enqueue, Job, Outcome
from node.ledger.rows import add_note, is_held, lock_study, message_due_at, not_renamed, subjects_of
from node.ledger.states import DeliveryState, DispatchState, MessageKind

log = logging.getLogger(__name__)

_ASKS_AGAIN_S = 2.0
"""When what a message says may be out of date, the next attempt is at least so much later."""
_UNDECIDED = "what to tell cannot be found out, as the history of the study says"


@dataclass(frozen=True, slots=True)
class Letter:
    """A message as it is sent: the same bytes at each attempt."""

    control_id: str
    content: bytes
    may_be_known: bool = False
    """An attempt before may have arrived."""
    failures: int = 0
    """Attempts before that failed, but for those that reached nobody."""


@dataclass(frozen=True, slots=True)
class MessageEnd:
    """How an attempt at sending a message ended."""

    ended: Literal["acknowledged", "failed", "refused"]
    """Failed: it is tried again, unless it is too late; refused: a person must see to it."""
    error: str = ""
    """Why, without patient data."""
    retry_s: float = 0.0
    is_unreached: bool = False
    """Nobody answered."""
    is_unknown: bool = False
    """Nothing of it can have arrived, at this attempt or before."""


@dataclass(frozen=True, slots=True)
class Messages:
    """The attempts at a message."""

    ledger: Ledger
    on_end: Callable[[DeliveryEnd], None] = lambda end: None
    """Told of each end, once it is committed."""

    def begin_message(self, job: Job, node_id: str, enqueue: Enqueue) -> Letter:
        """Take a message for an attempt, and return it.

        Raises Superseded if it is not to be sent: of a held study nothing is told, and one whose
        level, or identity, may have changed since is looked at before.
        """
        with self.ledger.writing() as db:
            study = lock_study(db, job.study_uid)
            row = message_row(db, job)
            if row.attempt != job.attempt or row.state.is_final:
                raise Superseded(f"attempt {row.attempt} is {row.state}")
            why_not, given_up = "", None
            asked = _asked_for(db, job.study_uid) if row.kind == MessageKind.LEVEL else None
            if row.kind == MessageKind.LEVEL and is_held(study):
                why_not = "the study is held"
                db.execute(update_message(job).values(state=DispatchState.CANCELLED, owner=None))
            elif asked is not None:
                why_not = "it may say something else by now"
                if asked.at > row.deadline_at:
                    given_up = _give_up(db, job, row, MessageEnd("failed", _UNDECIDED))
                else:
                    _put_off(db, job, row, row.error, max(asked.left_s, _ASKS_AGAIN_S), enqueue)
            else:
                values = {"state": DispatchState.RUNNING, "owner": node_id}
                tried_at = sa.func.coalesce(schema.message.c.tried_at, now())
                db.execute(update_message(job).values(values | {"tried_at": tried_at}))
                return Letter(
                    row.control_id,
                    row.content,
                    may_be_known=row.tried_at is not None,
                    failures=row.failures,
                )
        if given_up is not None:
            self.on_end(given_up)
        raise Superseded(why_not)  # now that that is committed

    def finish_message(self, job: Job, end: MessageEnd, enqueue: Enqueue) -> None:
        """End an attempt: acknowledged, with a next one later, or by giving up."""
        with self.ledger.writing() as db:
            lock_study(db, job.study_uid)
            row = message_row(db, job)
            if row.attempt != job.attempt or row.state != DispatchState.RUNNING:
                raise Superseded(f"attempt {row.attempt} is {row.state}")
            at = db.execute(sa.select(now())).scalar_one()
            if end.is_unknown:
                db.execute(update_message(job).values(tried_at=None))
            if end.ended == "acknowledged":
                said = self._acknowledge(db, job, row)
            elif end.ended == "refused" or at + end.retry_s > row.deadline_at:
                said = _give_up(db, job, row, end)
            else:
                # Where another was acknowledged since it failed before, it is this one that is not
                # answered: hurried by each, it would keep them waiting for as long as that lasts.
                is_its_own = row.is_unreached and has_taken_since_it_failed(db, job.destination)
                values = {"is_unreached": end.is_unreached and not is_its_own}
                values |= {"failures": row.failures + (not end.is_unreached)}
                db.execute(update_message(job).values(values))
                _put_off(db, job, row, end.error, end.retry_s, enqueue)
                said = DeliveryEnd(job.destination, "failed")
            state = DeliveryState.SENT if end.ended == "acknowledged" else DeliveryState.QUEUED
            note_delivery(db, job.destination, [Outcome("", state, end.error or None)])
        self.on_end(said)

    def _acknowledge(self, db: sa.Connection, job: Job, row: sa.Row[Any]) -> DeliveryEnd:
        done = {"state": DispatchState.FINISHED, "owner": None, "error": None, "next_at": None}
        values = done | {"acknowledged_at": now(), "is_unreached": False}
        db.execute(update_message(job).values(values))
        add_note(db, job.study_uid, f"{job.destination} acknowledged: {_words_of(row)}")
        words = "%s acknowledged what it was told of study %s"
        log.info(words, job.destination, job.study_uid, extra=subjects_of(job))
        version = schema.study_version
        query = sa.select(now() - version.c.last_image_at).where(
            version.c.study_uid == job.study_uid, version.c.number == row.number
        )
        return DeliveryEnd(job.destination, "delivered", db.execute(query).scalar_one_or_none())


def _asked_for(db: sa.Connection, study_uid: str) -> sa.Row[Any] | None:
    """Return how long it is until it is decided what is to be told of a study; None if it is.

    And the time now.
    """
    table = schema.study_to_tell
    left_s = sa.func.coalesce(table.c.next_at - now(), 0.0).label("left_s")
    query = sa.select(left_s, now().label("at"))
    is_open = (table.c.study_uid == study_uid) & sa.not_(table.c.is_looked_at)
    return db.execute(query.where(is_open)).first()


def _put_off(
    db: sa.Connection,
    job: Job,
    row: sa.Row[Any],
    error: str | None,
    delay_s: float,
    enqueue: Enqueue,
) -> None:
    due_at = message_due_at(db, row.kind, row.level, delay_s)
    following = replace(job, attempt=job.attempt + 1, delay_s=delay_s, due_at=due_at)
    values: dict[str, Any] = {"state": DispatchState.QUEUED, "owner": None}
    values |= {"attempt": following.attempt}
    values |= {"error": error, "next_at": now() + delay_s, "due_at": due_at}
    db.execute(update_message(job).values(values))
    enqueue(db, following)


def _give_up(db: sa.Connection, job: Job, row: sa.Row[Any], end: MessageEnd) -> DeliveryEnd:
    dead = {"state": DispatchState.DEAD, "owner": None, "error": end.error, "next_at": None}
    db.execute(update_message(job).values(dead | {"is_unreached": False}))
    say_message_given_up(db, job, row, end.error)
    return DeliveryEnd(job.destination, "given up")


def say_message_given_up(db: sa.Connection, job: Job, row: sa.Row[Any], error: str) -> None:
    """Say in history and log that a message is given up: from now on only a person goes on."""
    words = f"{job.destination} did not take what it was told ({_words_of(row)}): {error}"
    add_note(db, job.study_uid, words)
    words = "%s did not take what it was told of study %s: %s; mend that, then `ai-node retry`"
    log.error(words, job.destination, job.study_uid, error, extra=subjects_of(job))


def _words_of(row: sa.Row[Any]) -> str:
    """Return what a message says, in a few words of a history."""
    return words_of_message(row.kind, str(row.level))


TOLD_NOTHING = "is told nothing"
"""What the history says of a list, with its name before and the reason after it."""


def words_of_message(kind: MessageKind, level: str, before: str = "") -> str:
    """Return "triage level urgent", and the level before if it was another."""
    if kind == MessageKind.WITHDRAWN:
        return f"triage level {level} withdrawn"
    if kind == MessageKind.WRONG:
        return f"triage level {level} was told under a wrong patient or accession number"
    return f"triage level {level}" + (f", {before} before" if before else "")


def message_row(db: sa.Connection, job: Job) -> sa.Row[Any]:
    """Return the job's message; raise Superseded if it is for another name by now."""
    return not_renamed(db.execute(sa.select(schema.message).where(*_is_it(job))).one_or_none(), job)


def update_message(job: Job) -> sa.Update:
    """Begin an UPDATE of the job's message."""
    return schema.message.update().where(*_is_it(job))


def _is_it(job: Job) -> tuple[sa.ColumnElement[bool], ...]:
    table = schema.message
    return (
        table.c.study_uid == job.study_uid,
        table.c.sequence == job.number,
        table.c.destination == job.destination,
    )
