"""1 Receive."""

from __future__ import annotations

from typing import Any, Literal

import sqlalchemy as sa

from node import schema
from node.identity import UNSAID, disagree
from node.ledger.clock import now
from node.ledger.database import Database
from node.ledger.records import Kept, Reception
from node.ledger.rows import add_note, hold, insert_into, lock_study
from node.study import Instance

_UNSAID = " ".join([UNSAID] * 3)
"""The identity of an object that does not say whose it is."""


class Receiving(Database):
    """What arrives."""

    def find_kept(self, sop_uid: str) -> Kept | None:
        """Return an instance we keep."""
        table = schema.instance
        columns = (table.c.study_uid, table.c.transfer_syntax, table.c.digest, table.c.path)
        with self.reading() as db:
            row = db.execute(sa.select(*columns).where(table.c.sop_uid == sop_uid)).one_or_none()
        return None if row is None else Kept(*row)

    def is_report(self, sop_uid: str) -> bool:
        """Return whether we made this object."""
        with self.reading() as db:
            query = sa.select(schema.report.c.sop_uid).where(schema.report.c.sop_uid == sop_uid)
            return db.execute(query).first() is not None

    def record_instance(
        self, instance: Instance, reception: Reception
    ) -> Literal["new", "same", "conflict"]:
        """Commit one received instance.

        The same bytes again change nothing. Other bytes under a known UID are a conflict: the
        first are kept. Patient or accession number that disagree within a study hold it.
        """
        # An archive may have rewritten what we made.
        said = _UNSAID if reception.is_own else reception.identity
        with self.writing() as db:
            self._touch_study(db, instance.study_uid, reception.sender, said)
            self._compare_identity(db, instance.study_uid, said)
            known = db.execute(
                sa.select(schema.instance.c.digest).where(
                    schema.instance.c.sop_uid == instance.sop_uid
                )
            ).scalar_one_or_none()
            if known is not None:
                if known != instance.digest:
                    add_note(db, instance.study_uid, f"other content came for {instance.sop_uid}")
                return "same" if known == instance.digest else "conflict"
            if not reception.is_own:
                self._reopen(db, instance.study_uid, reception)
            db.execute(
                schema.instance.insert().values(
                    sop_uid=instance.sop_uid,
                    study_uid=instance.study_uid,
                    series_uid=instance.series_uid,
                    sop_class=instance.sop_class,
                    transfer_syntax=instance.transfer_syntax,
                    modality=instance.modality,
                    view=str(instance.view) if instance.view else None,
                    is_standard=instance.is_standard,
                    path=reception.relative_path,
                    digest=instance.digest,
                    state="own" if reception.is_own else "current",
                    association_id=reception.association_id,
                    received_at=now(),
                )
            )
            return "new"

    def hold_study(self, study_uid: str, reason: str) -> None:
        """Analyse and send nothing of a study until a person has looked."""
        with self.writing() as db:
            if lock_study(db, study_uid).state != "held":
                hold(db, study_uid, reason)
                add_note(db, study_uid, f"held: {reason}")

    def _touch_study(self, db: sa.Connection, study_uid: str, sender: str, identity: str) -> None:
        """Make sure the study has a row, and lock it."""
        db.execute(
            insert_into(db, schema.study)
            .values(
                study_uid=study_uid,
                sender=sender,
                state="closed",
                identity=identity,
                first_at=now(),
                last_at=now(),
            )
            .on_conflict_do_nothing()
        )
        lock_study(db, study_uid)

    def _compare_identity(self, db: sa.Connection, study_uid: str, identity: str) -> None:
        study = lock_study(db, study_uid)
        pairs = zip(study.identity.split(), identity.split(), strict=True)
        merged = " ".join(new if known == UNSAID else known for known, new in pairs)
        values = {"identity": merged}
        if study.state != "held" and disagree(study.identity, identity):
            reason = "patient ID, its issuer or accession number disagree within the study"
            hold(db, study_uid, reason)
            add_note(db, study_uid, f"held: {reason}")
        if values != {"identity": study.identity}:
            uid_is = schema.study.c.study_uid == study_uid
            db.execute(schema.study.update().where(uid_is).values(values))

    def _reopen(self, db: sa.Connection, study_uid: str, reception: Reception) -> None:
        """Let an instance open its study, or keep it open."""
        study = lock_study(db, study_uid)
        if study.state == "closed" and study.version and not reception.is_in_scope:
            add_note(db, study_uid, "an object came that no model reads; nothing follows")
            return
        values: dict[str, Any] = {"last_at": now()}
        if study.state == "closed":
            values |= {"state": "receiving", "first_at": now()}
        if not study.version and not _has_current(db, study_uid):
            values |= {"sender": reception.sender}  # until now there was nothing to answer
        uid_is = schema.study.c.study_uid == study_uid
        db.execute(schema.study.update().where(uid_is).values(values))


def _has_current(db: sa.Connection, study_uid: str) -> bool:
    table = schema.instance
    query = sa.select(table.c.sop_uid).where(table.c.study_uid == study_uid)
    return db.execute(query.where(table.c.state == "current").limit(1)).first() is not None
