"""What a person lets nobody remove, until a person says otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from node.errors import NodeError
from node.ledger import schema
from node.ledger.clock import now
from node.ledger.database import Ledger
from node.ledger.remembering import lock_known
from node.ledger.rows import add_note, update_study

_LONGEST_REASON = 500
"""Characters: it stands in lists."""


@dataclass(frozen=True, slots=True)
class Keeping:
    """What people do by the commands `hold` and `unhold`.

    Nothing of the study is removed from then on, neither by its days nor for want of room. Its
    analysis and its deliveries go on as they would.
    """

    ledger: Ledger

    def keep_study(self, study_uid: str, why: str, *, by: str) -> str:
        """Let nothing of a study be removed; return what that means for it.

        Who says it last is who is named. Raises NodeError if it is not known, or without a reason.
        """
        reason = " ".join(why.split())
        if not reason or len(reason) > _LONGEST_REASON:
            raise NodeError(
                f"--why: say in 1 to {_LONGEST_REASON} characters why the study is to be kept"
            )
        with self.ledger.writing() as db:
            study = lock_known(db, study_uid)
            kept = {"kept_at": now(), "kept_by": by, "kept_why": reason}
            db.execute(update_study(study_uid).values(kept))
            add_note(db, study_uid, f"kept from removal by {by}: {reason}")
            follows = f"nothing of it is removed until `ai-node unhold`{_gone_before(db, study)}"
            if study.kept_at is None:
                return follows
            return f"{follows}. {study.kept_by} had kept it before: {study.kept_why}"

    def unkeep_study(self, study_uid: str, *, by: str) -> str:
        """Let a study be removed as any other; return who had kept it, and why.

        Raises NodeError if it is not known, or if nobody keeps it.
        """
        with self.ledger.writing() as db:
            study = lock_known(db, study_uid)
            if study.kept_at is None:
                raise NodeError(
                    f"study {study_uid} is not kept by a person: `ai-node studies` shows what is"
                )
            db.execute(update_study(study_uid).values(kept_at=None, kept_by=None, kept_why=None))
            add_note(db, study_uid, f"no longer kept from removal, by {by}")
            return f"it goes when its days are over; {study.kept_by} had kept it: {study.kept_why}"


def _gone_before(db: sa.Connection, study: sa.Row[Any]) -> str:
    """Say how much of it had been removed before, "" if nothing had."""
    gone = []
    for table, name in ((schema.instance, "received objects"), (schema.report, "result objects")):
        counts = (sa.func.count(), sa.func.count(table.c.removed_at))
        query = sa.select(*counts).where(table.c.study_uid == study.study_uid)
        count, removed = db.execute(query).one()
        gone += [f"{removed} of its {count} {name}"] if removed else []
    return f"; removed before: {' and '.join(gone)}" if gone else ""
