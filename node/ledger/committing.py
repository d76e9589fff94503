"""Requests for storage commitment that peers make: recorded, taken up by one node, answered."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import sqlalchemy as sa

from node.ledger import schema
from node.ledger.clock import now
from node.ledger.database import Ledger
from node.ledger.rows import add_note, insert_into
from node.ledger.states import CommitmentState, InstanceState

_AT_ONCE = 500
"""Objects looked for by one statement."""

ObjectAskedFor = tuple[str, str]
"""SOP Class UID and SOP Instance UID."""


@dataclass(frozen=True, slots=True)
class RequestTaken:
    """A request that this node has taken up: no other answers it meanwhile."""

    peer: str
    transaction_uid: str
    objects: tuple[ObjectAskedFor, ...]
    attempt: int


@dataclass(frozen=True, slots=True)
class KeptObject:
    """An object of which there is a row."""

    study_uid: str
    sop_class: str
    path: str
    state: InstanceState
    digest: str
    """Of its data set."""
    transfer_syntax: str
    is_removed: bool = False
    """Its file is: it is not kept any more."""


@dataclass(frozen=True, slots=True)
class Committing:
    """What peers ask this node to answer for."""

    ledger: Ledger

    def ask(
        self, peer: str, transaction_uid: str, objects: Sequence[ObjectAskedFor], wait_s: float
    ) -> bool:
        """Record a request, to be answered in a while; the same again is answered again.

        Return False if the peer has asked for other objects under this Transaction UID.
        """
        table = schema.commitment_request
        values = {
            "objects": json.dumps(objects),
            "state": CommitmentState.WAITING,
            "attempt": 0,
            "error": None,
            "asked_at": now(),
            "next_at": now() + wait_s,
            "ended_at": None,
        }
        key = {"peer": peer, "transaction_uid": transaction_uid}
        with self.ledger.writing() as db:
            new = insert_into(db, table).values(key | values).on_conflict_do_nothing()
            if db.execute(new.returning(table.c.peer)).first() is not None:
                _note_objects(db, key, objects)
                return True
            row = db.execute(sa.select(table).filter_by(**key).with_for_update()).one()
            if set(_objects(row)) != set(objects):
                return False
            if row.state != CommitmentState.WAITING:
                db.execute(table.update().filter_by(**key).values(values))
                _note_objects(db, key, objects)
            return True

    def is_any_due(self) -> bool:
        """Return whether there may be one to take up, without writing."""
        query = sa.select(schema.commitment_request.c.peer).where(*_due()).limit(1)
        with self.ledger.reading() as db:
            return db.execute(query).first() is not None

    def take(
        self, node_id: str, live_nodes: Collection[str], without: Collection[str] = ()
    ) -> RequestTaken | None:
        """Take up the request that has been due for longest, but of some peers; None: none is.

        One that a node took which is dead since is due.
        """
        table = schema.commitment_request
        is_free = sa.or_(table.c.owner.is_(None), table.c.owner.not_in(live_nodes))
        query = (
            sa.select(table)
            .where(*_due(), is_free, table.c.peer.not_in(without))
            .order_by(table.c.next_at)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        with self.ledger.writing() as db:
            row = db.execute(query).one_or_none()
            if row is None:
                return None
            taken = RequestTaken(row.peer, row.transaction_uid, _objects(row), row.attempt + 1)
            db.execute(_update(taken).values(owner=node_id, attempt=taken.attempt))
            return taken

    def find_kept(self, sop_uids: Iterable[str]) -> dict[str, KeptObject]:
        """Return those objects that rows speak of, by SOP Instance UID, removed ones among them."""
        table = schema.instance
        c = table.c
        columns = c.study_uid, c.sop_class, c.path, c.state, c.digest, c.transfer_syntax
        found = {}
        with self.ledger.reading() as db:
            for some in _parts(sop_uids):
                query = sa.select(c.sop_uid, *columns, c.removed_at.is_not(None))
                for row in db.execute(query.where(c.sop_uid.in_(some))):
                    found[row.sop_uid] = KeptObject(*row[1:])
        return found

    def mark(self, sop_uids: Iterable[str]) -> bool:
        """Mark objects as committed, before a peer is told so: from then on nobody removes them.

        Returns False if one has been removed meanwhile: then the peer must not be told so.
        """
        table = schema.instance
        are_all_there = True
        with self.ledger.writing() as db:
            for some in _parts(sop_uids):
                are_these = table.c.sop_uid.in_(some)
                unmarked = table.c.committed_at.is_(None), table.c.removed_at.is_(None)
                db.execute(table.update().where(are_these, *unmarked).values(committed_at=now()))
                gone = sa.select(table.c.sop_uid).where(are_these, table.c.removed_at.is_not(None))
                are_all_there &= db.execute(gone.limit(1)).first() is None
        return are_all_there

    def end(
        self, taken: RequestTaken, state: CommitmentState, notes: Mapping[str, str], error: str = ""
    ) -> None:
        """Record that a request is answered, or will not be, and what its studies' history says."""
        values = {"state": state, "owner": None, "error": error or None, "ended_at": now()}
        with self.ledger.writing() as db:
            db.execute(_update(taken).values(values))
            asked_about = schema.commitment_object
            key = {"peer": taken.peer, "transaction_uid": taken.transaction_uid}
            db.execute(asked_about.delete().filter_by(**key))
            for study_uid, note in notes.items():
                add_note(db, study_uid, note)

    def put_off(self, taken: RequestTaken, wait_s: float, within_s: float, error: str) -> bool:
        """Let a request be taken up again in a while; False if it is too old for that."""
        table = schema.commitment_request
        still = _update(taken).where(table.c.asked_at + within_s > now())
        with self.ledger.writing() as db:
            later = still.values(owner=None, next_at=now() + wait_s, error=error)
            return bool(db.execute(later).rowcount)

    def forget(self, older_than_s: float) -> None:
        """Remove requests that ended so long ago."""
        table = schema.commitment_request
        is_old = table.c.ended_at < now() - older_than_s
        with self.ledger.writing() as db:
            db.execute(table.delete().where(table.c.state != CommitmentState.WAITING, is_old))


def _note_objects(
    db: sa.Connection, key: Mapping[str, str], objects: Sequence[ObjectAskedFor]
) -> None:
    """Let it be known by the UID of each what a request that waits asks about."""
    rows = [{**key, "sop_uid": sop_uid} for sop_uid in sorted({uid for _, uid in objects})]
    if rows:
        table = schema.commitment_object
        db.execute(insert_into(db, table).on_conflict_do_nothing(), rows)


def _due() -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    table = schema.commitment_request
    return table.c.state == CommitmentState.WAITING, table.c.next_at <= now()


def _objects(row: sa.Row[Any]) -> tuple[ObjectAskedFor, ...]:
    return tuple((sop_class, sop_uid) for sop_class, sop_uid in json.loads(row.objects))


def _update(taken: RequestTaken) -> sa.Update:
    table = schema.commitment_request
    update = table.update().where(table.c.peer == taken.peer)
    return update.where(table.c.transaction_uid == taken.transaction_uid)


def _parts(sop_uids: Iterable[str]) -> Iterator[list[str]]:
    left = iter(sop_uids)
    while some := list(islice(left, _AT_ONCE)):
        yield some
