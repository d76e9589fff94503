"""A peer or destination that has another name now: whom rows name, what waits, and the new name."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from node.errors import NodeError
from node.ledger import schema
from node.ledger.clock import now
from node.ledger.database import Ledger
from node.ledger.remembering import rename_remembered
from node.ledger.rows import add_note
from node.ledger.states import CommitmentState, DispatchState, StudyState, VersionState

NAME_COLUMNS: tuple[sa.Column[Any], ...] = (
    schema.dispatch.c.destination,
    schema.delivery.c.destination,
    schema.message.c.destination,
    schema.commitment.c.destination,
    schema.commitment_object.c.peer,
    schema.commitment_request.c.peer,
    schema.asked_back.c.peer,
    schema.study.c.sender,
    schema.association.c.peer,
    schema.exam_score.c.sender,
    schema.score_reference.c.sender,
    schema.peer.c.name,
)
"""Every column that names a peer or a destination. `study_version.directions` names them, too, and
`alarm.subject` may: of an alarm that lasts a new one is raised, with the new name."""

_AT_ONCE = 500
"""So many rows in a transaction: they may be of years."""
_OPEN = (DispatchState.QUEUED, DispatchState.RUNNING)


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits for one name."""

    deliveries: int = 0
    """Report sets to be sent to it, or confirmed by it."""
    messages: int = 0
    analyses: int = 0
    """Studies to be analysed, whose results are for it."""
    receiving: int = 0
    """Studies of it that are being received: their results go where its table says."""


@dataclass(slots=True)
class _Counts:
    deliveries: Counter[str] = field(default_factory=Counter)
    messages: Counter[str] = field(default_factory=Counter)
    analyses: Counter[str] = field(default_factory=Counter)
    receiving: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Names:
    """The peers and destinations that rows name."""

    ledger: Ledger

    def waiting(self) -> dict[str, Waiting]:
        """Return what waits for each name; of what is done nothing is read."""
        found = _Counts()
        with self.ledger.reading() as db:
            for table, counts in (
                (schema.dispatch, found.deliveries),
                (schema.message, found.messages),
            ):
                query = sa.select(table.c.destination, sa.func.count()).where(
                    table.c.state.in_(_OPEN)
                )
                _add(counts, db.execute(query.group_by(table.c.destination)))
            for directions in db.execute(_open_versions(schema.study_version.c.directions)):
                found.analyses.update(json.loads(directions[0]).keys())
            study = schema.study
            query = sa.select(study.c.sender, sa.func.count()).where(
                study.c.state == StudyState.RECEIVING
            )
            _add(found.receiving, db.execute(query.group_by(study.c.sender)))
        names = sorted(
            {*found.deliveries, *found.messages, *found.analyses, *found.receiving},
        )
        return {
            name: Waiting(
                found.deliveries[name],
                found.messages[name],
                found.analyses[name],
                found.receiving[name],
            )
            for name in names
        }

    def rename(self, former: str, new: str, *, by: str = "") -> int:
        """Let everything that names one name another; return how many rows.

        What waits is renamed at once; the rest, of studies that are done, in portions, so that
        images are taken meanwhile; and in what is remembered of studies that are forgotten. If it
        is cut off, it is to be repeated.

        Raises NodeError while something is being sent to it, or if both names have results of the
        same study: then they are two.
        """
        with self.ledger.writing() as db:
            self._refuse_if_sending(db, former)
            _refuse_if_two(db, former, new)
            count = _rename_work(db, former, new, by)
        count += self._rename_rows(former, new)
        count += self._rename_remembered(former, new)
        # Of a study that was recalled meanwhile, as it had been remembered.
        return count + self._rename_rows(former, new)

    def _rename_rows(self, former: str, new: str) -> int:
        count = 0
        for column in NAME_COLUMNS:
            while renamed := self._rename_some(column, former, new):
                count += renamed
        return count

    def _rename_remembered(self, former: str, new: str) -> int:
        names: dict[sa.Table, list[str]] = {}
        for column in NAME_COLUMNS:
            names.setdefault(column.table, []).append(column.name)
        count, after = 0, ""
        while True:
            with self.ledger.writing() as db:
                portion = rename_remembered(db, names, (former, new), after=after, at_most=_AT_ONCE)
            if portion is None:
                return count
            after, renamed = portion
            count += renamed

    def _refuse_if_sending(self, db: sa.Connection, former: str) -> None:
        alive = sa.select(schema.node.c.id).where(
            schema.node.c.stopped_at.is_(None),
            schema.node.c.beat_at > now() - self.ledger.dead_after_s,
        )
        request = schema.commitment_request
        is_answered = (request.c.peer == former) & (request.c.state == CommitmentState.WAITING)
        queries = [
            sa.select(table.c.owner).where(
                table.c.destination == former,
                table.c.state == DispatchState.RUNNING,
                table.c.owner.in_(alive),
            )
            for table in (schema.dispatch, schema.message)
        ]
        queries.append(sa.select(request.c.owner).where(is_answered, request.c.owner.in_(alive)))
        if any(db.execute(query.limit(1)).first() is not None for query in queries):
            raise NodeError(
                f"something is being sent to {former} just now: try again in a moment, or stop "
                "the nodes before"
            )

    def _rename_some(self, column: sa.Column[Any], former: str, new: str) -> int:
        table = column.table
        assert isinstance(table, sa.Table)
        keys = [key for key in table.primary_key.columns if key is not column]
        with self.ledger.writing() as db:
            if table is schema.peer or column.primary_key:
                db.execute(table.delete().where(column == former, _is_there_as(column, new)))
            if not keys:
                return int(
                    db.execute(
                        table.update().where(column == former).values({column: new})
                    ).rowcount
                )
            some = sa.select(*keys).where(column == former).limit(_AT_ONCE)
            rows = db.execute(some).all()
            if not rows:
                return 0
            is_one = sa.tuple_(*keys).in_([tuple(row) for row in rows])
            update = table.update().where(column == former, is_one).values({column: new})
            return int(db.execute(update).rowcount)


def _add(counts: Counter[str], rows: Iterable[Any]) -> None:
    for name, count in rows:
        counts[name] += count


def _is_there_as(column: sa.Column[Any], new: str) -> sa.ColumnElement[bool]:
    """Whether a row stands there under the new name, too: that one is newer."""
    table = column.table
    assert isinstance(table, sa.Table)
    other = table.alias()
    same = [other.c[key.name] == key for key in table.primary_key.columns if key is not column]
    return sa.exists().where(other.c[column.name] == new, *same)


def _open_versions(*columns: sa.ColumnElement[Any]) -> sa.Select[Any]:
    version = schema.study_version
    is_open = version.c.state.in_((VersionState.QUEUED, VersionState.RUNNING))
    return sa.select(*columns).where(is_open, version.c.directions.is_not(None))


def _refuse_if_two(db: sa.Connection, former: str, new: str) -> None:
    one, other = schema.dispatch, schema.dispatch.alias()
    is_same = (one.c.study_uid == other.c.study_uid) & (one.c.number == other.c.number)
    both = sa.select(one.c.study_uid).join(other, is_same)
    both = both.where(one.c.destination == former, other.c.destination == new).limit(1)
    message, another = schema.message, schema.message.alias()
    told = sa.select(message.c.study_uid).join(another, another.c.study_uid == message.c.study_uid)
    told = told.where(message.c.destination == former, another.c.destination == new).limit(1)
    for query in (both, told):
        if (study_uid := db.execute(query).scalar_one_or_none()) is not None:
            raise NodeError(
                f"{former} and {new} are two: study {study_uid} has something for each of them"
            )


def _rename_work(db: sa.Connection, former: str, new: str, by: str) -> int:
    """Rename by what something is sent; an attempt that waits begins anew, as one of its own."""
    studies, count = set[str](), 0
    again = {
        "attempt": schema.dispatch.c.attempt + 1,
        "state": DispatchState.QUEUED,
        "owner": None,
        "next_at": None,
        "is_unreached": False,
    }
    for table, beside in (
        (schema.dispatch, (schema.delivery, schema.commitment)),
        (schema.message, ()),
    ):
        is_open = (table.c.destination == former) & table.c.state.in_(_OPEN)
        whose = sa.select(table.c.study_uid).where(is_open)
        studies |= set(db.execute(whose).scalars())
        for other in beside:
            is_its = (other.c.destination == former) & other.c.study_uid.in_(whose)
            count += db.execute(other.update().where(is_its).values(destination=new)).rowcount
        values = again | {"attempt": table.c.attempt + 1, "destination": new}
        count += db.execute(table.update().where(is_open).values(values)).rowcount
    count += _rename_requests(db, former, new)
    for study_uid in _redirect(db, former, new):
        studies.add(study_uid)
        count += 1
    whom = f" by {by}" if by else ""
    for study_uid in sorted(studies):
        add_note(db, study_uid, f"{former} is called {new} now{whom}: what waits for it goes there")
    return count


def _rename_requests(db: sa.Connection, former: str, new: str) -> int:
    """Rename whose requests wait, and of what objects: one without the other never ends."""
    count = 0
    for table in (schema.commitment_object, schema.commitment_request):
        is_its = table.c.peer == former
        if table is schema.commitment_request:
            is_its &= table.c.state == CommitmentState.WAITING
        db.execute(table.delete().where(is_its, _is_there_as(table.c.peer, new)))
        count += db.execute(table.update().where(is_its).values(peer=new)).rowcount
    return count


def _redirect(db: sa.Connection, former: str, new: str) -> list[str]:
    """Rename in what is to be analysed; return the studies."""
    version = schema.study_version
    keys = (version.c.study_uid, version.c.number, version.c.directions)
    found = []
    for row in db.execute(_open_versions(*keys)).all():
        directions = json.loads(row.directions)
        if former in directions:
            directions[new] = directions.pop(former)
            is_it = (version.c.study_uid == row.study_uid) & (version.c.number == row.number)
            db.execute(version.update().where(is_it).values(directions=json.dumps(directions)))
            found.append(row.study_uid)
    return found
