"""The processes that share a ledger, and the associations each of them has open."""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa

from node import schema
from node.ledger.clock import now
from node.ledger.database import Database

HEARTBEAT_EXPIRES_S = 30
"""A node that has not beaten for this long is taken for dead."""


class Nodes(Database):
    """Who is alive."""

    def register_node(self, node_id: str) -> None:
        """Record that a process has started."""
        with self.writing() as db:
            db.execute(schema.node.insert().values(id=node_id, started_at=now(), beat_at=now()))

    def beat(self, node_id: str) -> None:
        """Record that a process is alive."""
        with self.writing() as db:
            db.execute(_node(node_id).values(beat_at=now()))

    def retire_node(self, node_id: str) -> None:
        """Record a clean stop; what it was running is released and counts as no crash."""
        with self.writing() as db:
            db.execute(_node(node_id).values(stopped_at=now()))
            for table in (schema.study_version, schema.dispatch):
                db.execute(
                    table.update()
                    .where(table.c.owner == node_id, table.c.state == "running")
                    .values(state="queued", owner=None)
                )
            db.execute(
                schema.association.update()
                .where(schema.association.c.node_id == node_id)
                .where(schema.association.c.closed_at.is_(None))
                .values(closed_at=now())
            )

    def live_nodes(self) -> frozenset[str]:
        """Return the ids of the processes that beat lately and have not stopped."""
        with self.reading() as db:
            return frozenset(
                db.execute(
                    sa.select(schema.node.c.id)
                    .where(schema.node.c.stopped_at.is_(None))
                    .where(schema.node.c.beat_at > now() - HEARTBEAT_EXPIRES_S)
                ).scalars()
            )

    def bury_other_nodes(self, node_id: str) -> None:
        """Declare every other process dead. For a start under the lock of the state folder."""
        with self.writing() as db:
            db.execute(
                schema.node.update()
                .where(schema.node.c.id != node_id, schema.node.c.stopped_at.is_(None))
                .values(stopped_at=now())
            )

    def open_association(self, association_id: str, node_id: str, peer: str) -> None:
        """Record that a peer has begun to talk to us."""
        with self.writing() as db:
            db.execute(
                schema.association.insert().values(
                    id=association_id, node_id=node_id, peer=peer, opened_at=now()
                )
            )

    def close_association(self, association_id: str) -> None:
        """Record that an association has ended, in whatever way."""
        with self.writing() as db:
            db.execute(
                schema.association.update()
                .where(schema.association.c.id == association_id)
                .values(closed_at=now())
            )

    def close_associations(self, node_id: str, is_open: Callable[[str], bool]) -> None:
        """Close the associations of a node that it does not know to be open.

        For a sweep: the end of an association may have been missed.
        """
        table = schema.association
        with self.reading() as db:
            query = sa.select(table.c.id).where(table.c.node_id == node_id)
            open_ids = db.execute(query.where(table.c.closed_at.is_(None))).scalars().all()
        for association_id in open_ids:
            if not is_open(association_id):
                self.close_association(association_id)


def _node(node_id: str) -> sa.Update:
    return schema.node.update().where(schema.node.c.id == node_id)
