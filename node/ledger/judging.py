"""What an object that came again is to the one we have: the same, a correction, or another.

Within the transaction that takes it. Pixels and headers have been compared before (`Again`); if
not with what we have by now, that is all that is said.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from node.ledger import schema
from node.ledger.coming_back import is_to_be_restored
from node.ledger.records import Received, Recorded
from node.ledger.rows import add_note, hold, lock_study
from node.ledger.states import HeldBecause, InstanceState
from node.study import Instance


def judge_again(
    db: sa.Connection, instance: Instance, received: Received, known: sa.Row[Any]
) -> Recorded:
    """Return what an instance that came again is to the one we have."""
    again = received.again
    is_same = known.digest == instance.digest
    if is_same and is_to_be_restored(db, received, known):
        return "restored"
    if is_same or known.state == InstanceState.OWN or received.is_own:
        return "same"
    is_compared = (
        again is not None
        and (again.digest, again.was_removed) == (known.digest, known.removed_at is not None)
        and again.path in ("", known.path)
    )
    if known.study_uid != instance.study_uid:
        # Of which of the two it is would be a guess.
        for study, other in ((instance, known), (known, instance)):
            reason = f"image {instance.sop_uid} came in this study and in {other.study_uid}"
            hold(db, study.study_uid, HeldBecause.PIXELS, reason)
        recorded: Recorded = "contradicts"
    elif again is None or not is_compared:
        recorded = "compare"
    elif again.pixels == "same" or (again.pixels == "unknown" and again.has_no_file):
        recorded = _judge_header(db, instance, received, known)
    else:
        how = "with different pixels" if again.pixels == "other" else "and cannot be compared"
        reason = f"image {instance.sop_uid} came twice {how}"
        hold(db, instance.study_uid, HeldBecause.PIXELS, reason)
        recorded = "contradicts"
    return recorded


def _judge_header(
    db: sa.Connection, instance: Instance, received: Received, known: sa.Row[Any]
) -> Recorded:
    """Return what another header is: a correction, or a former one that has been corrected.

    Who sent the correction may take it back; from another, the former header is a stale copy.
    """
    again = received.again
    assert again is not None, "judged by it"
    may_return = _is_from_whom_we_have_it(db, received, known) or _is_in_doubt(
        db, instance.study_uid
    )
    stands = again.is_former and not may_return
    if again.pixels == "unknown":
        words = "came again; its pixels cannot be compared, the former file is not there any more"
        add_note(db, instance.study_uid, f"{name_in_history(instance)} {words}")
    if again.changed and not stands:
        return "corrected"
    if not again.changed and is_to_be_restored(db, received, known):
        return "restored"
    words = "came again, the same but for how it is encoded; nothing follows"
    if again.changed:
        words = "came as it was before its correction, which stands"
    add_note(db, instance.study_uid, f"{name_in_history(instance)} {words}")
    return "unchanged"


def _is_from_whom_we_have_it(db: sa.Connection, received: Received, known: sa.Row[Any]) -> bool:
    table = schema.association
    query = sa.select(table.c.peer).where(table.c.id == known.association_id)
    return bool(db.execute(query).scalar_one_or_none() == received.sender)


def _is_in_doubt(db: sa.Connection, study_uid: str) -> bool:
    """Return whether a correction has made whose the study is doubtful: it may be taken back."""
    because = lock_study(db, study_uid).held_because
    return because in (HeldBecause.IDENTITY, HeldBecause.DESTINATION)


def name_in_history(instance: Instance) -> str:
    """Return what a line of a history calls an object by."""
    return str(instance.view or f"{instance.modality or 'object'} {instance.sop_uid}")
