"""1 Receive: what an instance means for its study, decided and committed in one transaction.

An instance that is new joins its study. One that came again changes nothing if it is the same,
replaces the former one if only its header was corrected, and holds the study if its pixels
differ. Nothing of a study whose objects disagree about the patient is analysed or sent.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from node.errors import Superseded
from node.identity import disagreement, merge
from node.ledger import schema
from node.ledger.clock import now
from node.ledger.coming_back import may_be_needed, note_files, restore
from node.ledger.connections import is_trouble
from node.ledger.damaged import DamagedObject, add_damaged
from node.ledger.database import Ledger, OutcomeUnknown
from node.ledger.judging import judge_again, name_in_history
from node.ledger.plain import is_unheard_of, record_if_plain
from node.ledger.received_rows import columns_of, enter_study, identities_in, other_labels
from node.ledger.records import Former, Kept, Received, Recorded, Withdrawal
from node.ledger.remembering import Remembering, recall
from node.ledger.rows import (
    SHOWN,
    add_note,
    ask_to_tell,
    hold,
    insert_into,
    is_held,
    lock_study,
    open_study,
    release,
    revise,
    shown_in,
    update_study,
)
from node.ledger.states import HeldBecause, InstanceState, StudyState
from node.study import NO_IMAGES, Instance

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Receiving:
    """What arrives, and over which associations."""

    ledger: Ledger

    def recall(self, study_uid: str) -> None:
        """Make the rows of a study again if it was forgotten: something of it is here.

        Before anything is asked about what came; recording it does so too, should it be forgotten
        again meanwhile.
        """
        Remembering(self.ledger).recall(study_uid)

    def find_kept(self, sop_uid: str) -> Kept | None:
        """Return an instance we keep."""
        with self.ledger.reading() as db:
            row = _find(db, sop_uid)
            if row is None:
                return None
            study = sa.select(schema.study).where(schema.study.c.study_uid == row.study_uid)
            is_removed = row.removed_at is not None
            return Kept(
                study_uid=row.study_uid,
                transfer_syntax=row.transfer_syntax,
                digest=row.digest,
                path=row.path,
                state=row.state,
                shown=shown_in(row),
                is_removed=is_removed,
                is_awaited=is_removed and may_be_needed(db, db.execute(study).one()),
                pixels_digest=row.pixels_digest or "",
                header_digest=row.header_digest or "",
            )

    def find_former(self, sop_uid: str) -> tuple[Former, ...]:
        """Return an instance as it was before each of its corrections."""
        table = schema.former_instance
        query = sa.select(table).where(table.c.sop_uid == sop_uid).order_by(table.c.replaced_at)
        with self.ledger.reading() as db:
            return tuple(
                Former(row.path, row.removed_at is not None, row.header_digest or "")
                for row in db.execute(query)
            )

    def is_report(self, sop_uid: str) -> bool:
        """Return whether we made this object."""
        with self.ledger.reading() as db:
            query = sa.select(schema.report.c.sop_uid).where(schema.report.c.sop_uid == sop_uid)
            return db.execute(query).first() is not None

    def is_unheard_of(self, study_uid: str, sop_uid: str) -> bool:
        """Return whether there is nothing to recall, nor to find, nor made by us: as a rule.

        In one question, asked for each object that comes.
        """
        with self.ledger.asking() as db:
            return is_unheard_of(db, study_uid, sop_uid)

    def record_instance(self, instance: Instance, received: Received) -> Recorded:
        """Commit one received instance, and what follows for its study.

        "compare" commits nothing: what we have must be compared with it first (Received.again).
        """
        with self.ledger.writing() as db:
            if record_if_plain(db, instance, received):
                return "new"
            return record_by_rules(db, instance, received)

    def record_together(self, came: Sequence[tuple[Instance, Received]]) -> list[bool]:
        """Commit those of several instances that are plain, all of them at once; say which.

        Each other one is to be recorded alone, for it may need the rows of more studies: here they
        are locked in one order. So is each whose study somebody else has locked, for which the
        others do not wait, and each where one of them has made all of them fail.
        """
        order = sorted(range(len(came)), key=lambda number: came[number][0].study_uid)
        try:
            with self.ledger.writing() as db:
                are_plain = {n: record_if_plain(db, *came[n], waits=False) for n in order}
        except (OutcomeUnknown, Superseded):
            raise
        except Exception as error:
            if self.ledger.has_one_writer and is_trouble(error):
                raise  # each would wait as long, one after the other
            words = "%d objects are not kept together, but each alone: %s"
            log.warning(words, len(came), getattr(error, "orig", None) or type(error).__name__)
            return [False] * len(came)
        return [are_plain[number] for number in range(len(came))]

    def record_damaged(self, damaged: DamagedObject) -> None:
        """Commit that an object was refused, for its study to say so."""
        with self.ledger.writing() as db:
            add_damaged(db, damaged)

    def open_association(self, association_id: str, node_id: str, peer: str) -> None:
        """Record that a peer has begun to talk to us."""
        with self.ledger.writing() as db:
            db.execute(
                schema.association.insert().values(
                    id=association_id, node_id=node_id, peer=peer, opened_at=now()
                )
            )

    def close_association(self, association_id: str) -> None:
        """Record that an association has ended, in whatever way."""
        with self.ledger.writing() as db:
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
        with self.ledger.reading() as db:
            query = sa.select(table.c.id).where(table.c.node_id == node_id)
            open_ids = db.execute(query.where(table.c.closed_at.is_(None))).scalars().all()
        for association_id in open_ids:
            if not is_open(association_id):
                self.close_association(association_id)


def record_by_rules(db: sa.Connection, instance: Instance, received: Received) -> Recorded:
    """Record an instance by the rules, whatever it is to its study."""
    study = _touch_study(db, instance.study_uid, received)
    known = _find(db, instance.sop_uid)
    if known is None:
        _record_new(db, study, instance, received)
        recorded: Recorded = "new"
    else:
        recorded = judge_again(db, instance, received, known)
        if recorded == "corrected":
            _correct(db, instance, received, known)
        elif recorded == "restored":
            restore(db, instance, received)
    if recorded in ("new", "corrected", "restored"):
        note_files(db, study)
    if recorded in ("new", "corrected"):
        if received.withdraws is not None:
            _withdraw(db, instance, received.withdraws)
        _compare_identities(db, instance.study_uid)
    return recorded


def _touch_study(db: sa.Connection, study_uid: str, received: Received) -> sa.Row[Any]:
    """Make sure the study has a row, and lock it; one that was forgotten is recalled."""
    query = sa.select(schema.study).where(schema.study.c.study_uid == study_uid).with_for_update()
    while (study := db.execute(query).one_or_none()) is None:
        # Until it is locked another node may enter it, or forget it just now.
        if not recall(db, study_uid):
            enter_study(db, study_uid, received.sender)
    return study


def _find(db: sa.Connection, sop_uid: str) -> sa.Row[Any] | None:
    query = sa.select(schema.instance).where(schema.instance.c.sop_uid == sop_uid)
    return db.execute(query).one_or_none()


def _record_new(
    db: sa.Connection, study: sa.Row[Any], instance: Instance, received: Received
) -> None:
    state = InstanceState.OWN if received.is_own else InstanceState.CURRENT
    table = schema.rejection
    query = sa.select(table.c.reason).where(table.c.sop_uid == instance.sop_uid)
    reason = db.execute(query.where(table.c.study_uid == instance.study_uid)).scalar_one_or_none()
    if reason is not None and state == InstanceState.CURRENT:
        state = InstanceState.WITHDRAWN
        words = f"{name_in_history(instance)} came, which is withdrawn: {reason}"
        add_note(db, instance.study_uid, words)
    if state == InstanceState.CURRENT:
        _reopen(db, study, received, _changes_by_new(db, study, instance, received))
    db.execute(
        schema.instance.insert().values(
            columns_of(instance, received)
            | {"sop_uid": instance.sop_uid, "state": state, "received_at": now()}
        )
    )


def _changes_by_new(
    db: sa.Connection, study: sa.Row[Any], instance: Instance, received: Received
) -> dict[str, Any]:
    """Return what changes in the row of a study with an object that is new to it."""
    if received.withdraws is not None:
        return {}
    changes = other_labels(study, received)
    if instance.modality not in NO_IMAGES:
        changes["last_image_at"] = now()
        if study.read_at is not None:
            changes |= {"read_at": None, "read_by": None}
            words = "came after somebody had marked the study as read, which it is no longer"
            add_note(db, study.study_uid, f"{name_in_history(instance)} {words}")
    return changes


def _correct(db: sa.Connection, instance: Instance, received: Received, known: sa.Row[Any]) -> None:
    """Put an instance in the place of the one it corrects."""
    assert received.again is not None, "judged by it"
    is_lost = received.again.has_no_file and known.removed_at is None
    former = schema.former_instance
    db.execute(
        insert_into(db, former)
        .values(
            sop_uid=known.sop_uid,
            digest=known.digest,
            path=known.path,
            received_at=known.received_at,
            replaced_at=now(),
            # Of a file that is lost nothing is left to be looked for.
            removed_at=now() if is_lost else known.removed_at,
            header_digest=known.header_digest,
        )
        .on_conflict_do_nothing()
    )
    sop_uid_is = schema.instance.c.sop_uid == instance.sop_uid
    db.execute(
        schema.instance.update()
        .where(sop_uid_is)
        .values(columns_of(instance, received) | {"received_at": now()})
    )
    changed = ", ".join(received.again.changed)
    # Of a file that could be read before it went, the digest of its header stayed.
    is_known = not received.again.has_no_file or known.header_digest
    how = "came with a corrected header" if is_known else "came again, with whatever header"
    add_note(db, instance.study_uid, f"{name_in_history(instance)} {how}: {changed}")
    if known.state == InstanceState.CURRENT and received.withdraws is None:
        labels = other_labels(lock_study(db, instance.study_uid), received)
        if labels:
            db.execute(update_study(instance.study_uid).values(labels))
    is_in_scope = received.is_in_scope or received.again.was_in_scope
    if known.state == InstanceState.CURRENT and is_in_scope:
        revise(
            db, instance.study_uid, "corrected headers" if is_known else "a lost image came again"
        )
        open_study(db, lock_study(db, instance.study_uid))
    if lock_study(db, instance.study_uid).held_because == HeldBecause.DESTINATION:
        release(db, instance.study_uid, "its headers have been corrected")


def _withdraw(db: sa.Connection, note: Instance, withdrawal: Withdrawal) -> None:
    """Withdraw what a rejection note names; what it names and comes later, too."""
    for sop_uid in withdrawal.sop_uids:
        db.execute(
            insert_into(db, schema.rejection)
            .values(
                sop_uid=sop_uid,
                study_uid=note.study_uid,
                note_sop_uid=note.sop_uid,
                reason=withdrawal.reason,
            )
            .on_conflict_do_nothing()
        )
    table = schema.instance
    query = sa.select(table.c.sop_uid, *SHOWN).where(table.c.state == InstanceState.CURRENT)
    of_note = query.where(table.c.study_uid == note.study_uid)
    rows = db.execute(of_note.where(table.c.sop_uid.in_(withdrawal.sop_uids))).all()
    uids = [row.sop_uid for row in rows]
    db.execute(
        table.update().where(table.c.sop_uid.in_(uids)).values(state=InstanceState.WITHDRAWN)
    )
    words = f"withdrew {_objects(len(rows))}"
    if not rows:
        words = f"names {_objects(len(withdrawal.sop_uids))}, none of which is in use"
    add_note(db, note.study_uid, f"a rejection note {words}: {withdrawal.reason}")
    if any(withdrawal.is_in_scope(shown_in(row)) for row in rows):
        revise(db, note.study_uid, f"{_objects(len(rows))} withdrawn: {withdrawal.reason}")
        open_study(db, lock_study(db, note.study_uid))


def _compare_identities(db: sa.Connection, study_uid: str) -> None:
    """Hold a study whose objects disagree about whose it is, until they agree again."""
    study = lock_study(db, study_uid)
    identities = identities_in(db, study_uid)
    merged = merge(identities)
    if merged != study.identity:
        db.execute(update_study(study_uid).values(identity=merged))
        if study.level is not None:  # as when the accession number comes with what is no image
            ask_to_tell(db, study_uid)
    if why := disagreement(identities):
        if not is_held(study):
            hold(db, study_uid, HeldBecause.IDENTITY, why)
        elif study.held_because == HeldBecause.IDENTITY and study.held_reason != why:
            db.execute(update_study(study_uid).values(held_reason=why))
            add_note(db, study_uid, f"held: {why}")
    elif study.held_because == HeldBecause.IDENTITY:
        release(db, study_uid, "its objects agree again")


def _reopen(
    db: sa.Connection, study: sa.Row[Any], received: Received, changes: dict[str, Any]
) -> None:
    """Let an instance open its study, or keep it open; make changes with it."""
    study_uid = study.study_uid
    if study.state == StudyState.CLOSED and study.version and not received.is_in_scope:
        if received.withdraws is None:
            add_note(db, study_uid, "an object came that no model reads; nothing follows")
        if changes:
            db.execute(update_study(study_uid).values(changes))
        return
    if not study.version and not _has_current(db, study_uid):
        # Until now there was nothing to answer.
        changes["sender"] = received.sender
    open_study(db, study, changes)


def _has_current(db: sa.Connection, study_uid: str) -> bool:
    table = schema.instance
    query = sa.select(table.c.sop_uid).where(table.c.study_uid == study_uid)
    return (
        db.execute(query.where(table.c.state == InstanceState.CURRENT).limit(1)).first() is not None
    )


def _objects(count: int) -> str:
    return f"{count} object" if count == 1 else f"{count} objects"
