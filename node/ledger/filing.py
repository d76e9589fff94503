"""Which files there should be in the store."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass

import sqlalchemy as sa

from node.ledger import schema
from node.ledger.clock import now
from node.ledger.database import Ledger
from node.ledger.records import Filed
from node.ledger.rows import lock_study, note_once, update_study
from node.ledger.states import InstanceState
from node.study import StudyLabels

_AT_ONCE = 500


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
                *(instance.c.study_uid, instance.c.sop_uid, instance.c.path),
                *(instance.c.received_at, instance.c.removed_at),
            ).where(instance.c.study_uid.in_(study_uids)),
            sa.select(
                *(instance.c.study_uid, former.c.sop_uid, former.c.path),
                *(former.c.received_at, former.c.removed_at),
            )
            .join(instance, instance.c.sop_uid == former.c.sop_uid)
            .where(instance.c.study_uid.in_(study_uids)),
            sa.select(
                *(report.c.study_uid, report.c.sop_uid, report.c.path),
                *(built_at, report.c.removed_at),
            )
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
            Filed(study_uid, sop_uid, path, at - then, removed_at is not None)
            for study_uid, sop_uid, path, then, removed_at in rows
        ]

    def names_files(self) -> bool:
        """Whether a row says that a file is in the store."""
        with self.ledger.reading() as db:
            return any(
                db.execute(
                    sa.select(table.c.path).where(table.c.removed_at.is_(None)).limit(1)
                ).first()
                for table in (schema.instance, schema.former_instance, schema.report)
            )

    def has_study(self, study_uid: str) -> bool:
        """Return whether there is a row of a study."""
        table = schema.study
        query = sa.select(table.c.study_uid).where(table.c.study_uid == study_uid)
        with self.ledger.reading() as db:
            return db.execute(query).first() is not None

    def unlinking(self, paths: Collection[str]) -> frozenset[str]:
        """Return those of some files that are to go, although they may still be there."""
        path, asked = schema.unlinking.c.path, sorted(paths)
        found: set[str] = set()
        with self.ledger.reading() as db:
            for n in range(0, len(asked), _AT_ONCE):
                query = sa.select(path).where(path.in_(asked[n : n + _AT_ONCE]))
                found.update(db.execute(query).scalars())
        return frozenset(found)

    def studies_after(self, study_uid: str, count: int) -> list[str]:
        """Return so many studies, in the order of their UIDs, that come after one."""
        table = schema.study
        query = sa.select(table.c.study_uid).where(table.c.study_uid > study_uid)
        with self.ledger.reading() as db:
            return list(db.execute(query.order_by(table.c.study_uid).limit(count)).scalars())

    def unlabelled(self, count: int) -> dict[str, str | None]:
        """Return so many studies whose labels were never looked at.

        With each the path of an object of it, None if there is none that is in use.
        """
        study, instance = schema.study, schema.instance
        path = sa.select(instance.c.path).where(
            instance.c.study_uid == study.c.study_uid,
            instance.c.state == InstanceState.CURRENT,
            instance.c.removed_at.is_(None),
        )
        last = path.order_by(instance.c.received_at.desc()).limit(1).correlate(study)
        query = sa.select(study.c.study_uid, last.scalar_subquery().label("path"))
        never = query.where(study.c.accession_number.is_(None))
        with self.ledger.reading() as db:
            rows = db.execute(never.limit(count))
            return {row.study_uid: row.path for row in rows}

    def label(self, study_uid: str, labels: StudyLabels) -> None:
        """Record what people know a study by, unless an object has said it meanwhile."""
        with self.ledger.writing() as db:
            study = lock_study(db, study_uid)
            values = {
                name: value
                for name, value in asdict(labels).items()
                if study._mapping[name] is None
            }
            if values:
                db.execute(update_study(study_uid).values(values))

    def note_once(self, study_uid: str, event: str) -> bool:
        """Add a line to a study's history, unless it is there; return whether it was not."""
        with self.ledger.writing() as db:
            lock_study(db, study_uid)
            return note_once(db, study_uid, event)
