"""The processes that share a ledger, and the associations each of them has open."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import sqlalchemy as sa

from node.errors import ConfigError, Superseded
from node.ledger import schema
from node.ledger.clock import now
from node.ledger.database import Ledger
from node.ledger.moving import why_no_node_may_run
from node.ledger.states import OwnPart, Role

_FORGOTTEN_AFTER_S = 7 * 86_400.0


@dataclass(frozen=True, slots=True)
class Ill:
    """That a part of a node is ill."""

    since: float
    """Epoch seconds, by the clock of its machine."""
    words: str
    """What is wrong, without patient data."""


@dataclass(frozen=True, slots=True)
class Presence:
    """A node as the others see it."""

    place: str
    """The machine and the state folder."""
    role: Role
    state: Literal["alive", "silent", "stopped"]
    """Silent: taken for dead. Stopped: it said that it would."""
    heard_of_s: float
    """How long ago."""
    last_at: float
    """When it stopped, else when it was last heard of."""
    ill: Mapping[OwnPart, Ill] = field(default_factory=dict)
    """What it said at its last heartbeat of its parts that are ill."""


@dataclass(frozen=True, slots=True)
class Nodes:
    """The processes that share the ledger."""

    ledger: Ledger

    def register_node(self, node_id: str, place: str | None = None, role: Role = Role.ALL) -> None:
        """Record that a process has started, and that all before it on its state folder are dead.

        The place is the state folder, whose lock the caller holds; its last word identifies it.
        Raises ConfigError if the ledger has moved meanwhile.
        """
        table = schema.node
        with self.ledger.writing() as db:
            if place is not None:
                db.execute(
                    table.update()
                    .where(table.c.place.endswith(place.rpartition(" ")[2], autoescape=True))
                    .where(table.c.stopped_at.is_(None))
                    .values(stopped_at=now())
                )
            db.execute(
                table.insert().values(
                    id=node_id, place=place, role=role, started_at=now(), beat_at=now()
                )
            )
            # Last: a move keeps writers waiting, so that here it is over or has yet to begin.
            if why := why_no_node_may_run(db):
                raise ConfigError(f"[node] database {why}")

    def beat(self, node_id: str) -> float:
        """Record that a process is alive; return the seconds since it last was.

        Raises Superseded if another has started on its state folder, or on a copy of it, or if it
        was silent for so long that its row is forgotten.
        """
        table = schema.node
        with self.ledger.writing() as db:
            query = sa.select(table.c.stopped_at, (now() - table.c.beat_at).label("gap_s"))
            row = db.execute(query.where(table.c.id == node_id)).one_or_none()
            if row is None:
                raise Superseded("this process was not heard of for longer than records_days")
            if row.stopped_at is not None:
                raise Superseded("another process has started on this state folder, or on a copy")
            db.execute(_node(node_id).values(beat_at=now()))
            return float(row.gap_s)

    def record_ill(self, node_id: str, ill: Mapping[OwnPart, Ill]) -> None:
        """Record which parts of a process are ill, in place of what it said before."""
        said = {str(part): [one.since, one.words] for part, one in ill.items()}
        with self.ledger.writing() as db:
            db.execute(_node(node_id).values(ill=json.dumps(said) if said else None))

    def retire_node(self, node_id: str) -> None:
        """Record a clean stop; what it was running is released and counts as no crash."""
        with self.ledger.writing() as db:
            db.execute(_node(node_id).values(stopped_at=now()))
            for table, states in schema.WORK.items():
                db.execute(
                    table.update()
                    .where(table.c.owner == node_id, table.c.state == states.RUNNING)
                    .values(state=states.QUEUED, owner=None)
                )
            db.execute(
                schema.association.update()
                .where(schema.association.c.node_id == node_id)
                .where(schema.association.c.closed_at.is_(None))
                .values(closed_at=now())
            )

    def live_nodes(self, *, even_if_late: bool = False) -> frozenset[str]:
        """Return the ids of the processes that have not stopped and, unless late, beat lately."""
        table = schema.node
        query = sa.select(table.c.id).where(table.c.stopped_at.is_(None))
        if not even_if_late:
            query = query.where(table.c.beat_at > now() - self.ledger.dead_after_s)
        with self.ledger.reading() as db:
            return frozenset(db.execute(query).scalars())

    def presences(self) -> list[Presence]:
        """Return the newest process of each state folder that was heard of within a week."""
        table = schema.node
        query = (
            sa.select(table, (now() - table.c.beat_at).label("heard_of_s"))
            .where(table.c.beat_at > now() - _FORGOTTEN_AFTER_S)
            .order_by(table.c.started_at)
        )
        with self.ledger.reading() as db:
            newest = {(row.place or row.id).rpartition(" ")[2]: row for row in db.execute(query)}
        return sorted(map(self._presence, newest.values()), key=lambda presence: presence.place)

    def _presence(self, row: sa.Row[Any]) -> Presence:
        is_late = row.heard_of_s > self.ledger.dead_after_s
        return Presence(
            place=(row.place or row.id).rpartition(" ")[0] or row.id,
            role=row.role or Role.ALL,
            state="stopped" if row.stopped_at is not None else "silent" if is_late else "alive",
            heard_of_s=row.heard_of_s,
            last_at=row.beat_at if row.stopped_at is None else row.stopped_at,
            ill=_ill_in(row.ill),
        )

    def registered(self, node_ids: Collection[str]) -> frozenset[str]:
        """Return those of the ids that are, or were, processes on this ledger."""
        query = sa.select(schema.node.c.id).where(schema.node.c.id.in_(node_ids))
        with self.ledger.reading() as db:
            return frozenset(db.execute(query).scalars())


def _ill_in(said: str | None) -> dict[OwnPart, Ill]:
    """Read what a node wrote; of another release it may name parts that are not known here."""
    found = json.loads(said) if said else {}
    return {part: Ill(*found[part]) for part in OwnPart if part in found}


def _node(node_id: str) -> sa.Update:
    return schema.node.update().where(schema.node.c.id == node_id)
