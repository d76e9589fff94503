"""What waits for a destination that is away: sent at once when that takes something again.

Each study has a back-off of its own, up to `retry_max_s`, so that a destination that is back would
have its results an hour late, and nobody would know that it is back. So what failed for want of
its destination, and nothing else, is put at the front of its lane by the first success there; and
while nothing succeeds, one of them is tried a minute.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from node.ledger import schema
from node.ledger.clock import now
from node.ledger.database import Ledger
from node.ledger.order import wait_s
from node.ledger.records import Enqueue, Job
from node.ledger.rows import lock_study, message_due_at
from node.ledger.states import DispatchState, MessageKind, Stage
from node.result import Priority

HURRIED_AT_ONCE = 20
"""By one success, in one transaction: each of these hurries others when it has succeeded."""

PROBE_AFTER_S = 50.0
"""So long after the last failure at a destination another attempt is due, however long the
back-off: with what a sweep and the queue take, one a minute."""


@dataclass(frozen=True, slots=True)
class _Lane:
    """What is sent to a destination, one after the other: report sets, or messages."""

    kind: Literal["deliver", "message"]
    table: sa.Table
    number: sa.ColumnElement[int]
    takes_back: sa.ColumnElement[bool]

    @property
    def is_waiting(self) -> list[sa.ColumnElement[bool]]:
        """It failed for want of its destination, and is put off."""
        columns = self.table.c
        is_put_off = columns.next_at.is_not(None)
        return [columns.is_unreached, is_put_off, columns.state == DispatchState.QUEUED]


_GOES_ON = (DispatchState.QUEUED, DispatchState.RUNNING)

_LANES = (
    _Lane("deliver", schema.dispatch, schema.dispatch.c.number, sa.false()),
    _Lane(
        "message",
        schema.message,
        schema.message.c.sequence,
        schema.message.c.kind != MessageKind.LEVEL,
    ),
)


@dataclass(frozen=True, slots=True)
class Hurrying:
    """What of a lane goes before its time.

    The attempt that was due later finds another in its place, and does nothing: nothing is sent
    twice.
    """

    ledger: Ledger

    def hurry(self, destination: str, enqueue: Enqueue, at_most: int = HURRIED_AT_ONCE) -> int:
        """Enqueue at once what waits for a destination; return how many were.

        Of more than `at_most` the most urgent, and of these the oldest. Where nothing waits this is
        a look into an index.
        """
        with self.ledger.reading() as db:
            found = [(lane, row) for lane in _LANES for row in _first(db, lane, destination)]
        found = found[:at_most]  # a destination gets report sets or messages, never both
        if not found:
            return 0
        with self.ledger.writing() as db:
            # All in one order: another node may hurry the same.
            in_order = sorted(found, key=lambda one: (one[1].study_uid, one[1].number))
            return sum(_hurry(db, lane, row, enqueue) for lane, row in in_order)

    def probe(self, enqueue: Enqueue, after_s: float = PROBE_AFTER_S) -> list[str]:
        """Enqueue the first that waits for each destination of which nothing was tried lately.

        Not where an attempt is due by itself, or under way. Returns the destinations.
        """
        with self.ledger.reading() as db:
            silent = sorted({name for lane in _LANES for name in _silent(db, lane, after_s)})
        return [name for name in silent if self.hurry(name, enqueue, at_most=1)]


def _first(db: sa.Connection, lane: _Lane, destination: str) -> list[sa.Row[Any]]:
    columns, study = lane.table.c, schema.study
    waits = [(study.c.level == level, wait_s(Stage.REPORT, level)) for level in Priority]
    waits.insert(0, (lane.takes_back, 0.0))
    by_level = sa.case(*waits, else_=wait_s(Stage.REPORT, None))
    key = (columns.study_uid, lane.number.label("number"), columns.destination)
    query = (
        sa.select(*key)
        .select_from(lane.table.join(study, study.c.study_uid == columns.study_uid))
        .where(*lane.is_waiting, columns.destination == destination)
        # When it was due says how long it was put off, too: that is over.
        .order_by(by_level, columns.deadline_at)
    )
    return list(db.execute(query.limit(HURRIED_AT_ONCE)))


def _hurry(db: sa.Connection, lane: _Lane, found: sa.Row[Any], enqueue: Enqueue) -> bool:
    study = lock_study(db, found.study_uid)
    columns = lane.table.c
    is_it = [
        columns.study_uid == found.study_uid,
        lane.number == found.number,
        columns.destination == found.destination,
    ]
    query = sa.select(columns.attempt, lane.takes_back.label("takes_back"))
    former = db.execute(query.where(*is_it, *lane.is_waiting)).one_or_none()
    if former is None:  # another has, or it went by itself meanwhile
        return False
    kind = MessageKind.WITHDRAWN if former.takes_back else MessageKind.LEVEL
    attempt, due_at = former.attempt + 1, message_due_at(db, kind, study.level)
    values = {"attempt": attempt, "next_at": None, "due_at": due_at}
    db.execute(lane.table.update().where(*is_it).values(values))
    key = (found.study_uid, found.number, attempt, found.destination)
    enqueue(db, Job(lane.kind, *key, due_at=due_at))
    return True


def _silent(db: sa.Connection, lane: _Lane, after_s: float) -> Iterator[str]:
    """Yield where something waits, nothing is due or under way, and nothing was tried lately."""
    columns, peer = lane.table.c, schema.peer
    is_due = columns.next_at.is_(None) | (columns.next_at <= now())
    query = (
        sa.select(columns.destination, peer.c.failed_at, now().label("at"))
        .select_from(lane.table.outerjoin(peer, peer.c.name == columns.destination))
        .where(columns.is_unreached, columns.state.in_(_GOES_ON))
        .group_by(columns.destination, peer.c.failed_at)
        .having(sa.func.count(sa.case((is_due, 1))) == 0)
    )
    for row in db.execute(query):
        if row.failed_at is None or row.failed_at + after_s <= row.at:
            yield row.destination
