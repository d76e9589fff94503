"""What of a study is not in the store and is needed again: asked back, until all of it is here.

Its images were removed (`removed_at`), or their files are missing. While a study is asked back it
is not analysed: it waits as it is, or it is held (`HeldBecause.MISSING`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from node.identity import disagreement
from node.ledger import schema
from node.ledger.clock import now
from node.ledger.coming_back import may_be_needed, note_files
from node.ledger.database import Ledger
from node.ledger.received_rows import identities_in
from node.ledger.rows import (
    SHOWN,
    add_note,
    hold,
    is_held,
    lock_study,
    release,
    shown_in,
    update_study,
)
from node.ledger.states import HeldBecause, InstanceState
from node.numbers_in_words import counted
from node.study import Shown


@dataclass(frozen=True, slots=True)
class AskedBack:
    """A study that this node has taken up, to ask for what it lacks."""

    study_uid: str
    sender: str
    """The peer that sent the study."""
    peer: str | None
    """Whom it was last asked of."""
    attempts: int
    """How often somebody was asked before."""
    waited_s: float
    """Since somebody was first asked; before that, since it was first needed."""
    error: str | None
    """Why it did not come the last time."""
    is_held: bool
    """For want of it; else it waits."""


@dataclass(frozen=True, slots=True)
class FileOfImage:
    """An image that is in use, and where its file is, or was."""

    series_uid: str
    sop_uid: str
    sop_class: str
    transfer_syntax: str
    digest: str
    """Of its data set."""
    path: str
    shown: Shown
    removed_at: float | None


@dataclass(frozen=True, slots=True)
class Asking:
    """What is asked back from peers, by one node at a time."""

    ledger: Ledger

    def take(self, lease_s: float) -> AskedBack | None:
        """Take up the study that has been due for longest; None: none is.

        No other node does for as long as the lease; put off or ended, it is over before.
        """
        table, study = schema.asked_back, schema.study
        due = sa.select(table.c.study_uid).where(table.c.next_at <= now())
        with self.ledger.reading() as db:  # most often there is none, and nothing is to be locked
            if db.execute(due.limit(1)).first() is None:
                return None
        query = (
            sa.select(table, (now() - table.c.asked_at).label("waited_s"))
            .where(table.c.next_at <= now())
            .order_by(table.c.next_at)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        with self.ledger.writing() as db:
            row = db.execute(query).one_or_none()
            if row is None:
                return None
            of_study = sa.select(study.c.sender, study.c.held_because)
            its = db.execute(of_study.where(study.c.study_uid == row.study_uid)).one_or_none()
            if its is None:
                db.execute(_of(row.study_uid, table.delete()))
                return None
            db.execute(_of(row.study_uid, table.update()).values(next_at=now() + lease_s))
            return AskedBack(
                study_uid=row.study_uid,
                sender=its.sender,
                peer=row.peer,
                attempts=row.attempts,
                waited_s=row.waited_s,
                error=row.error,
                is_held=its.held_because == HeldBecause.MISSING,
            )

    def filed(self, study_uid: str, sop_uid: str | None = None) -> list[FileOfImage]:
        """Return every image of a study that is in use, or that one, in the order they came."""
        table = schema.instance
        names = ("series_uid", "sop_uid", "transfer_syntax", "digest", "path", "removed_at")
        columns = *SHOWN, table.c.received_at, *(table.c[name] for name in names)
        query = sa.select(*columns).where(
            table.c.study_uid == study_uid, table.c.state == InstanceState.CURRENT
        )
        if sop_uid is not None:
            query = query.where(table.c.sop_uid == sop_uid)
        with self.ledger.reading() as db:
            rows = db.execute(query.order_by(table.c.received_at, table.c.sop_uid)).all()
        return [
            FileOfImage(
                series_uid=row.series_uid,
                sop_uid=row.sop_uid,
                sop_class=row.sop_class,
                transfer_syntax=row.transfer_syntax,
                digest=row.digest,
                path=row.path,
                shown=shown_in(row),
                removed_at=row.removed_at,
            )
            for row in rows
        ]

    def take_back(self, study_uid: str, files: Sequence[FileOfImage]) -> int:
        """Record that removed files lie where they were, if their study still waits for them.

        Return how many of them are in use again. One that a node may be unlinking just now is left
        alone, and used at a later look if it is still there.
        """
        table, unlinking = schema.instance, schema.unlinking
        count = 0
        with self.ledger.writing() as db:
            study = lock_study(db, study_uid)
            if not may_be_needed(db, study):
                return 0
            for one in files:
                going = unlinking.delete().where(unlinking.c.path == one.path)
                if db.execute(going).rowcount:
                    continue
                is_it = (table.c.sop_uid == one.sop_uid) & (table.c.path == one.path)
                was = is_it & table.c.removed_at.is_not(None)
                count += db.execute(table.update().where(was).values(removed_at=None)).rowcount
            if count:
                note_files(db, study)
                words = counted(count, "removed image is", "removed images are")
                add_note(db, study_uid, f"{words} here again, where they were and as they came")
        return count

    def renew(self, study_uid: str, lease_s: float) -> None:
        """Keep a study that has been taken up, while a peer still answers."""
        table = schema.asked_back
        with self.ledger.writing() as db:
            db.execute(_of(study_uid, table.update()).values(next_at=now() + lease_s))

    def put_off(
        self, study_uid: str, wait_s: float, peer: str, error: str, *, was_asked: bool = True
    ) -> None:
        """Let a study be asked for again in a while, by whichever node.

        It is given up so long after it was first asked for, however long it had waited for that:
        for the node to be started again, or in a queue behind others.
        """
        table = schema.asked_back
        with self.ledger.writing() as db:
            lock_study(db, study_uid)
            row = db.execute(_of(study_uid, sa.select(table))).one_or_none()
            if row is None:
                return
            if error != row.error:  # an archive may be away for days
                add_note(db, study_uid, f"its images are asked back from {peer}: {error}")
            values: dict[str, Any] = {"peer": peer, "error": error, "next_at": now() + wait_s}
            if was_asked:
                values["attempts"] = row.attempts + 1
            if was_asked and row.attempts == 0:
                values["asked_at"] = now()
            db.execute(_of(study_uid, table.update()).values(values))

    def give_up(self, study_uid: str, reason: str) -> None:
        """Ask for a study no longer, and hold it; what is held for something else stays so."""
        with self.ledger.writing() as db:
            study = lock_study(db, study_uid)
            db.execute(_of(study_uid, schema.asked_back.delete()))
            if study.held_because == HeldBecause.MISSING and study.held_reason != reason:
                db.execute(update_study(study_uid).values(held_reason=reason))
                add_note(db, study_uid, f"held: {reason}")
            elif not is_held(study):
                hold(db, study_uid, HeldBecause.MISSING, reason)

    def end(self, study_uid: str, why: str) -> None:
        """Let a study go on of which everything is here again."""
        with self.ledger.writing() as db:
            study = lock_study(db, study_uid)
            found = db.execute(_of(study_uid, schema.asked_back.delete()))
            if study.held_because == HeldBecause.MISSING:
                release(db, study_uid, why)
                if words := disagreement(identities_in(db, study_uid)):
                    hold(db, study_uid, HeldBecause.IDENTITY, words)
            elif found.rowcount:
                add_note(db, study_uid, why)

    def waiting_after(self, study_uid: str, count: int) -> list[str]:
        """Return so many studies that wait for files, asked back or held, in order after one."""
        study, table = schema.study, schema.asked_back
        is_held = study.c.held_reason.is_not(None), study.c.held_because == HeldBecause.MISSING
        held = sa.select(study.c.study_uid).where(*is_held, study.c.study_uid > study_uid)
        asked = sa.select(table.c.study_uid).where(table.c.study_uid > study_uid)
        query = held.union(asked).order_by("study_uid").limit(count)
        with self.ledger.reading() as db:
            return list(db.execute(query).scalars())


def _of(study_uid: str, statement: Any) -> Any:
    return statement.where(schema.asked_back.c.study_uid == study_uid)
