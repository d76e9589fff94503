"""What comes again of a study whose images were removed, within the transaction that takes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from node.ledger import schema
from node.ledger.clock import now
from node.ledger.records import Received
from node.ledger.rows import hold, insert_into, lock_study, update_study
from node.ledger.states import HeldBecause, InstanceState, StudyState
from node.study import Instance

COMES_BACK = (
    "send the whole study again (what is missing, and was not removed, may be put back instead): "
    "once all is here, it goes on by itself"
)
"""What a person does about a study that is held for want of files."""
_NAMED = 5
"""Of many files that are missing so many are named."""


def missing_words(paths: Sequence[str]) -> str:
    """Return which files of a study are not in the store."""
    named = ", ".join(paths[:_NAMED])
    more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    of_it = "1 file of it is" if len(paths) == 1 else f"{len(paths)} files of it are"
    return f"{of_it} missing in the store: {named}{more}"


def ask_back(db: sa.Connection, study_uid: str) -> bool:
    """Have a study asked back from now on; return False if it is already."""
    table = schema.asked_back
    values = {"study_uid": study_uid, "asked_at": now(), "next_at": now()}
    new = insert_into(db, table).values(values).on_conflict_do_nothing()
    return db.execute(new.returning(table.c.study_uid)).first() is not None


def hold_for_files(db: sa.Connection, study_uid: str, lacks: str) -> str:
    """Hold a study until what it lacks comes again, and have it asked back; return the reason."""
    reason = f"{lacks}; {COMES_BACK}"
    hold(db, study_uid, HeldBecause.MISSING, reason)
    ask_back(db, study_uid)
    return reason


def may_be_needed(db: sa.Connection, study: sa.Row[Any]) -> bool:
    """Return whether what was removed of a study is kept anew when it comes: it may be needed."""
    if study.state == StudyState.RECEIVING or study.held_because == HeldBecause.MISSING:
        return True
    table = schema.asked_back
    query = sa.select(table.c.study_uid).where(table.c.study_uid == study.study_uid)
    return db.execute(query).first() is not None


def is_to_be_restored(db: sa.Connection, received: Received, known: sa.Row[Any]) -> bool:
    """Return whether an object that came again takes the place of its removed file."""
    is_removed = known.removed_at is not None and known.state == InstanceState.CURRENT
    return (
        is_removed and received.is_in_scope and may_be_needed(db, lock_study(db, known.study_uid))
    )


def restore(db: sa.Connection, instance: Instance, received: Received) -> None:
    """Record that the file of an instance is here again; it may be encoded otherwise by now."""
    table = schema.instance
    values = {
        "path": received.relative_path,
        "digest": instance.digest,
        "transfer_syntax": instance.transfer_syntax,
        "size_bytes": received.size_bytes,
        "removed_at": None,
    }
    db.execute(table.update().where(table.c.sop_uid == instance.sop_uid).values(values))


def note_files(db: sa.Connection, study: sa.Row[Any]) -> None:
    """Record that a study of which all was removed has files again: they go in their turn."""
    if study.images_removed_at is not None or study.neighbours_removed_at is not None:
        none = {"images_removed_at": None, "neighbours_removed_at": None}
        db.execute(update_study(study.study_uid).values(none))
