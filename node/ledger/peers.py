"""What peers did last. Told to people; nothing depends on it.

Several transactions may touch the row of a peer at once: whoever does it does it last, so that
nobody who waits for it holds what its holder waits for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from node.ledger import schema
from node.ledger.clock import now
from node.ledger.database import Ledger
from node.ledger.records import Outcome
from node.ledger.rows import insert_into
from node.ledger.states import DeliveryState


@dataclass(frozen=True, slots=True)
class PeerNote:
    """What a peer did since it was last written down: how many seconds ago, None if it did not."""

    name: str
    seen_s: float | None = None
    """It came with an association."""
    object_s: float | None = None
    """An object that it sent was kept."""
    rejected_s: float | None = None
    """Something that it sent was not taken, or it was not let in."""
    rejection: str = ""
    """Why, without patient data."""


@dataclass(frozen=True, slots=True)
class Peers:
    """What peers did last."""

    ledger: Ledger

    def record_notes(self, notes: Iterable[PeerNote]) -> None:
        """Write down what peers did."""
        with self.ledger.writing() as db:
            for note in sorted(notes, key=lambda note: note.name):  # all in one order: no deadlock
                times = {
                    "seen_at": note.seen_s,
                    "object_at": note.object_s,
                    "rejected_at": note.rejected_s,
                }
                values: dict[str, Any] = {
                    column: now() - ago_s for column, ago_s in times.items() if ago_s is not None
                }
                if note.rejected_s is not None:
                    values["rejection"] = note.rejection
                _update_peer(db, note.name, values)


def note_delivery(
    db: sa.Connection, destination: str, outcomes: Sequence[Outcome], failure: str = ""
) -> None:
    """Write down what a destination said of our objects, or why it said nothing, if it did."""
    taken = (DeliveryState.SENT, DeliveryState.CONFIRMED)
    why_not = [one.error for one in outcomes if one.state not in taken and one.error]
    why_not += [failure] if failure else []
    values: dict[str, Any] = {}
    if any(one.state in taken for one in outcomes):
        values["sent_at"] = now()
    if why_not:
        values |= {"failed_at": now(), "failure": why_not[-1]}
    if values:
        _update_peer(db, destination, values)


def has_taken_since_it_failed(db: sa.Connection, destination: str) -> bool:
    """Return whether the last that is known of a destination is that it took something."""
    table = schema.peer
    query = sa.select(table.c.sent_at, table.c.failed_at).where(table.c.name == destination)
    row = db.execute(query).one_or_none()
    return row is not None and (row.sent_at or 0.0) > (row.failed_at or 0.0)


def _update_peer(db: sa.Connection, name: str, values: dict[str, Any]) -> None:
    insert = insert_into(db, schema.peer).values(name=name, **values)
    db.execute(insert.on_conflict_do_update(index_elements=["name"], set_=values))
