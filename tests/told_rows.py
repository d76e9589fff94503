"""Messages to a reading list, straight into the tables."""

from __future__ import annotations

from typing import Any

from ledgers import HOUR_S, STUDY, Desk

from node.ledger import DispatchState, schema
from node.result import Priority


def told(desk: Desk, sequence: int, state: DispatchState, **how: Any) -> None:
    """Put in a message about the study."""
    with desk.ledger.writing() as db:
        at = 1_795_953_600.0
        row: dict[str, Any] = {
            "control_id": f"ID{sequence}",
            "destination": "ris",
            "study_uid": STUDY,
            "sequence": sequence,
            "number": 1,
            "kind": "level",
            "level": Priority.URGENT,
            "told": "{}",
            "content": b"MSH",
            "state": state,
            "made_at": at,
            "deadline_at": at + HOUR_S,
        }
        db.execute(schema.message.insert().values(row | how))
