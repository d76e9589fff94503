"""What reading lists are to be told of a study: what is known of it, and what they were told.

Who changes a study's level, or whose it is, asks for it (`rows.ask_to_tell`). Whoever sees to it
reads the situation, decides without holding a lock, and records the next messages only if nothing
has changed meanwhile; else the study stays asked for.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import sqlalchemy as sa
from pydantic import TypeAdapter

from node.ledger import schema
from node.ledger.clock import now
from node.ledger.database import Ledger
from node.ledger.received_rows import identities_in
from node.ledger.records import Enqueue, Job
from node.ledger.rows import add_note, is_held, lock_study, message_due_at
from node.ledger.states import (
    NOT_TAKEN,
    DispatchState,
    HeldBecause,
    InstanceState,
    MessageKind,
    Mode,
    VersionState,
)
from node.result import Priority, Result
from node.triage import FormerLevel

_AT_ONCE = 500
_ALTERNATIVES = 3
"""Objects that say the same of whose it is: one of them may be damaged."""
_HEADERS = 20
"""Of how many objects at most, that say different things of whose it is, that is looked at."""


@dataclass(frozen=True, slots=True)
class StudyAsked:
    """A study of which somebody may have to be told."""

    study_uid: str
    for_s: float
    """How long ago it was asked for."""


@dataclass(frozen=True, slots=True)
class GivenLevel:
    """The level that a delivering model gave a version."""

    number: int
    model: str
    level: Priority


@dataclass(frozen=True, slots=True)
class ToldBefore:
    """A message that was written."""

    control_id: str
    destination: str
    sequence: int
    kind: MessageKind
    told: str
    """JSON of what it says."""
    is_open: bool
    """It is not acknowledged, and not cancelled."""
    is_cancelled: bool
    may_be_known: bool
    """An attempt at sending it was begun that may have arrived."""

    @property
    def is_acknowledged(self) -> bool:
        """Its receiver has it."""
        return not (self.is_open or self.is_cancelled)


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known of a study, and what was told of it. Times are epoch seconds, UTC."""

    study_uid: str
    sender: str
    level: Priority | None
    is_held: bool
    is_in_doubt: bool
    """It is held because of whose it is."""
    identity: str
    given: tuple[GivenLevel, ...]
    """By the newest version that is finished, and those after it; the newest first."""
    levels: tuple[FormerLevel, ...]
    """Of all versions that had one, the oldest first."""
    told: tuple[ToldBefore, ...]
    """In the order in which it was."""
    last_image_at: float
    installation: str
    at: float = field(compare=False)
    paths: tuple[tuple[str, ...], ...] = field(default=(), compare=False)
    """Of objects that say whose it is: those together that say the same, the latest first."""
    notes: frozenset[str] = field(default=frozenset(), compare=False)
    """What its history says of it."""

    def told_to(self, destination: str) -> tuple[ToldBefore, ...]:
        """Return what one destination was told."""
        return tuple(one for one in self.told if one.destination == destination)


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message that is to be sent."""

    control_id: str
    destination: str
    sequence: int
    number: int
    """The version it speaks of."""
    kind: MessageKind
    level: Priority
    told: str
    content: bytes
    note: str
    """What the study's history says of it."""


@dataclass(frozen=True, slots=True)
class Telling:
    """What is to be told is decided by others; this is the ledger's part of it."""

    ledger: Ledger

    def asked(self) -> list[StudyAsked]:
        """Return the studies that somebody may have to be told of, who has waited longest first.

        Not those that are put off.
        """
        table = schema.study_to_tell
        query = sa.select(table.c.study_uid, (now() - table.c.asked_at).label("for_s"))
        query = query.where(sa.or_(table.c.next_at.is_(None), table.c.next_at <= now()))
        with self.ledger.reading() as db:
            rows = db.execute(query.order_by(table.c.asked_at).limit(_AT_ONCE)).all()
        return [StudyAsked(row.study_uid, row.for_s) for row in rows]

    def drop(self, older_than_s: float) -> None:
        """Forget what was asked for so long ago: no reading list is configured."""
        table = schema.study_to_tell
        # A node that has lists looks again at what it has put off, and puts it off anew.
        since = sa.func.coalesce(table.c.next_at, table.c.asked_at)
        is_old = since < now() - older_than_s
        with self.ledger.reading() as db:
            if db.execute(sa.select(table.c.study_uid).where(is_old).limit(1)).first() is None:
                return
        with self.ledger.writing() as db:
            db.execute(table.delete().where(is_old))

    def put_off(self, for_s: float) -> int:
        """Return of how many studies it cannot be found out what to tell, for so long."""
        table = schema.study_to_tell
        is_put_off = table.c.next_at.is_not(None) & (table.c.asked_at < now() - for_s)
        with self.ledger.reading() as db:
            return db.execute(sa.select(sa.func.count()).where(is_put_off)).scalar_one()

    def leave_for(self, study_uid: str, delay_s: float) -> None:
        """Look at a study again a while later: nothing could be found out about it."""
        table = schema.study_to_tell
        is_it = table.c.study_uid == study_uid
        with self.ledger.writing() as db:
            db.execute(table.update().where(is_it).values(next_at=now() + delay_s))

    def situation(self, study_uid: str) -> Situation:
        """Return what is known of a study now."""
        table = schema.study
        with self.ledger.reading() as db:
            study = db.execute(sa.select(table).where(table.c.study_uid == study_uid)).one()
            return replace(
                _situation(db, study),
                paths=_paths(db, study_uid),
                notes=frozenset(_notes(db, study_uid)),
            )

    def result_of(self, study_uid: str, given: GivenLevel) -> Result:
        """Return the result that gave a level."""
        table = schema.analysis
        query = sa.select(table.c.result).where(
            table.c.study_uid == study_uid,
            table.c.number == given.number,
            table.c.model == given.model,
        )
        with self.ledger.reading() as db:
            return _RESULT.validate_json(db.execute(query).scalar_one())

    def record(  # noqa: PLR0913 - all by name
        self,
        situation: Situation,
        messages: Sequence[NewMessage],
        *,
        cancelled: Collection[str],
        notes: Sequence[str],
        deliver_within_s: float,
        enqueue: Enqueue,
        delay_s: float | None = None,
        is_looked_at: bool = True,
    ) -> bool:
        """Record and enqueue what was decided by a situation; the study is asked for no more.

        Unless it is put off: then it is looked at again `delay_s` later, `is_looked_at` if what is
        decided is so for good. `cancelled` are control IDs of messages that are never sent again.
        Changes nothing and returns False if the situation is another by now.
        """
        with self.ledger.writing() as db:
            study = lock_study(db, situation.study_uid)
            if _situation(db, study) != situation:
                return False
            asked, message = schema.study_to_tell, schema.message
            is_it = asked.c.study_uid == study.study_uid
            values = {"next_at": now() + (delay_s or 0), "is_looked_at": is_looked_at}
            seen_to = asked.delete() if delay_s is None else asked.update().values(values)
            if not db.execute(seen_to.where(is_it)).rowcount:
                return True  # another node has seen to it
            db.execute(
                message.update()
                .where(message.c.control_id.in_(sorted(cancelled)), message.c.state.in_(NOT_TAKEN))
                .values(state=DispatchState.CANCELLED, owner=None, next_at=None, is_unreached=False)
            )
            for note in notes:
                add_note(db, study.study_uid, note)
            for one in messages:
                _insert(db, study, one, deliver_within_s, enqueue)
            return True


def _insert(
    db: sa.Connection,
    study: sa.Row[Any],
    message: NewMessage,
    deliver_within_s: float,
    enqueue: Enqueue,
) -> None:
    due_at = message_due_at(db, message.kind, message.level)
    db.execute(
        schema.message.insert().values(
            control_id=message.control_id,
            destination=message.destination,
            study_uid=study.study_uid,
            sequence=message.sequence,
            number=message.number,
            kind=message.kind,
            level=message.level,
            told=message.told,
            content=message.content,
            state=DispatchState.QUEUED,
            due_at=due_at,
            made_at=now(),
            deadline_at=now() + deliver_within_s,
        )
    )
    add_note(db, study.study_uid, message.note)
    key = (study.study_uid, message.sequence, 1, message.destination)
    enqueue(db, Job("message", *key, due_at=due_at))


def _situation(db: sa.Connection, study: sa.Row[Any]) -> Situation:
    table = schema.study_version
    versions = db.execute(
        sa.select(table.c.number, table.c.state, table.c.level)
        .where(table.c.study_uid == study.study_uid)
        .order_by(table.c.number)
    ).all()
    finished = [row.number for row in versions if row.state == VersionState.FINISHED]
    is_not_done = (VersionState.QUEUED, VersionState.RUNNING)
    return Situation(
        study_uid=study.study_uid,
        sender=study.sender,
        level=study.level,
        is_held=is_held(study),
        is_in_doubt=study.held_because in (HeldBecause.IDENTITY, HeldBecause.DESTINATION),
        identity=study.identity,
        given=_given(db, study.study_uid, max(finished, default=0)),
        levels=tuple(
            FormerLevel(row.number, row.level)
            for row in versions
            if row.level is not None and row.state not in is_not_done
        ),
        told=_told(db, study.study_uid),
        last_image_at=study.last_image_at,
        installation=str(db.execute(sa.select(schema.installation.c.id)).scalar_one()),
        at=db.execute(sa.select(now())).scalar_one(),
    )


def _given(db: sa.Connection, study_uid: str, since: int) -> tuple[GivenLevel, ...]:
    table = schema.analysis
    query = sa.select(table.c.number, table.c.model, table.c.level).where(
        table.c.study_uid == study_uid,
        table.c.number >= since,
        table.c.mode == Mode.DELIVER,
        table.c.level.is_not(None),
        table.c.result.is_not(None),
    )
    rows = db.execute(query.order_by(table.c.number.desc(), table.c.model)).all()
    return tuple(GivenLevel(row.number, row.model, row.level) for row in rows)


def _paths(db: sa.Connection, study_uid: str) -> tuple[tuple[str, ...], ...]:
    table = schema.instance
    is_in_use = (table.c.study_uid == study_uid) & (table.c.state == InstanceState.CURRENT)
    query = sa.select(table.c.path, table.c.received_at).where(is_in_use)
    by_time = table.c.received_at.desc(), table.c.sop_uid.desc()
    last = query.order_by(table.c.removed_at.is_not(None), *by_time).limit(_ALTERNATIVES)
    found = [
        db.execute(last.where(table.c.identity == identity)).all()
        for identity in identities_in(db, study_uid)[:_HEADERS]
    ]
    if not found:  # of a release that wrote down no identities
        found = [rows] if (rows := db.execute(last).all()) else []
    found.sort(key=lambda rows: -rows[0].received_at)
    return tuple(tuple(row.path for row in rows) for rows in found)


def _told(db: sa.Connection, study_uid: str) -> tuple[ToldBefore, ...]:
    table = schema.message
    names = ("control_id", "destination", "sequence", "kind", "told", "state", "tried_at")
    query = sa.select(*(table.c[name] for name in names)).where(table.c.study_uid == study_uid)
    return tuple(
        ToldBefore(
            control_id=row.control_id,
            destination=row.destination,
            sequence=row.sequence,
            kind=row.kind,
            told=row.told,
            is_open=row.state in NOT_TAKEN,
            is_cancelled=row.state == DispatchState.CANCELLED,
            may_be_known=row.tried_at is not None,
        )
        for row in db.execute(query.order_by(table.c.destination, table.c.sequence))
    )


def _notes(db: sa.Connection, study_uid: str) -> Sequence[str]:
    table = schema.history
    return (
        db.execute(sa.select(table.c.event).where(table.c.study_uid == study_uid)).scalars().all()
    )


_RESULT = TypeAdapter(Result)
