"""Which files there should be in the store."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import sqlalchemy as sa

from node.ledger import schema
from node.ledger.clock import now
from node.ledger.database import Ledger
from node.ledger.records import Filed
from node.ledger.rows import add_note, lock_study


@dataclass(frozen=True, slots=True)
class Filing:
    """The files that rows speak of."""

    ledger: Ledger

    def filed(self, study_uids: Collection[str]) -> list[Filed]:
        """Return every file that rows of these studies speak of."""
        instance, former, report = schema.instance, schema.former_instance, schema.report
        version = schema.study_version
        built_at = sa.func.coalesce(version.c.finished_at, version.c.closed_at)
        columns = (
            sa.select(
                instance.c.study_uid, instance.c.sop_uid, instance.c.path, instance.c.received_at
            ).where(instance.c.study_uid.in_(study_uids)),
            sa.select(instance.c.study_uid, former.c.sop_uid, former.c.path, former.c.received_at)
            .join(instance, instance.c.sop_uid == former.c.sop_uid)
            .where(instance.c.study_uid.in_(study_uids)),
            sa.select(report.c.study_uid, report.c.sop_uid, report.c.path, built_at)
            .join(
                version,
                sa.and_(
                    version.c.study_uid == report.c.study_uid, version.c.number == report.c.number
                ),
            )
            .where(report.c.study_uid.in_(study_uids)),
        )
        with self.ledger.reading() as db:
            at = db.execute(sa.select(now())).scalar_one()
            rows = [row for query in columns for row in db.execute(query)]
        return [
            Filed(study_uid, sop_uid, path, at - then) for study_uid, sop_uid, path, then in rows
        ]

    def studies_after(self, study_uid: str, count: int) -> list[str]:
        """Return so many studies, in the order of their UIDs, that come after one."""
        table = schema.study
        query = sa.select(table.c.study_uid).where(table.c.study_uid > study_uid)
        with self.ledger.reading() as db:
            return list(db.execute(query.order_by(table.c.study_uid).limit(count)).scalars())

    def note_once(self, study_uid: str, event: str) -> bool:
        """Add a line to a study's history, unless it is there; return whether it was not."""
        table = schema.history
        same = sa.select(table.c.id).where(table.c.study_uid == study_uid, table.c.event == event)
        with self.ledger.writing() as db:
            lock_study(db, study_uid)
            if db.execute(same.limit(1)).first() is not None:
                return False
            add_note(db, study_uid, event)
            return True
