"""2 Settle."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa

from node import schema
from node.ledger.clock import now
from node.ledger.database import Database
from node.ledger.nodes import HEARTBEAT_EXPIRES_S
from node.ledger.records import Arrival, Enqueue, Job, PlannedAnalysis, parse_view
from node.ledger.rows import add_note, lock_study


class Settling(Database):
    """When a study is complete."""

    def arrivals(self, sop_classes: Collection[str]) -> list[Arrival]:
        """Return every study that is being received; views count in these SOP classes only."""
        with self.reading() as db:
            rows = db.execute(
                sa.select(
                    schema.study.c.study_uid,
                    schema.study.c.sender,
                    schema.study.c.last_at,
                    (now() - schema.study.c.last_at).label("quiet_s"),
                    (now() - schema.study.c.first_at).label("age_s"),
                ).where(schema.study.c.state == "receiving")
            ).all()
            return [_arrival(db, row, sop_classes) for row in rows]

    def close_version(
        self,
        arrival: Arrival,
        reason: str,
        analyses: Sequence[PlannedAnalysis],
        enqueue: Enqueue,
    ) -> bool:
        """Close the study as a new version and enqueue its processing.

        Changes nothing and returns False if an image has come since the arrival was read.
        Without analyses the study is out of scope: kept and listed, and nothing else.
        """
        with self.writing() as db:
            study = lock_study(db, arrival.study_uid)
            if study.state != "receiving" or study.last_at != arrival.last_at:
                return False
            number = study.version + 1
            uid_is = schema.study.c.study_uid == arrival.study_uid
            db.execute(schema.study.update().where(uid_is).values(state="closed", version=number))
            db.execute(
                schema.instance.update()
                .where(schema.instance.c.study_uid == arrival.study_uid)
                .where(schema.instance.c.version.is_(None), schema.instance.c.state == "current")
                .values(version=number)
            )
            _cancel_older(db, arrival.study_uid, number)
            db.execute(
                schema.study_version.insert().values(
                    study_uid=arrival.study_uid,
                    number=number,
                    reason=reason,
                    state="queued" if analyses else "out of scope",
                    closed_at=now(),
                    last_image_at=study.last_at,
                )
            )
            for planned in analyses:
                db.execute(
                    schema.analysis.insert().values(
                        study_uid=arrival.study_uid,
                        number=number,
                        model=planned.model,
                        model_version=planned.model_version,
                        weights_sha256=planned.weights_sha256,
                        mode=planned.mode,
                    )
                )
            add_note(db, arrival.study_uid, f"version {number} closed: {reason}")
            if analyses:
                enqueue(db, Job("process", arrival.study_uid, number, attempt=1))
            return True


def _cancel_older(db: sa.Connection, study_uid: str, number: int) -> None:
    """Cancel what is still queued for older versions; what runs finds out when it commits."""
    for table in (schema.study_version, schema.dispatch):
        db.execute(
            table.update()
            .where(table.c.study_uid == study_uid, table.c.number < number)
            .where(table.c.state == "queued")
            .values(state="cancelled", error="a newer version exists")
        )


def _arrival(db: sa.Connection, study: sa.Row[Any], sop_classes: Collection[str]) -> Arrival:
    instance, association, node = schema.instance, schema.association, schema.node
    of_study = (instance.c.study_uid == study.study_uid) & (instance.c.state == "current")
    rows = db.execute(sa.select(instance).where(of_study)).all()
    open_associations = db.execute(
        sa.select(sa.func.count(sa.distinct(association.c.id)))
        .join(instance, instance.c.association_id == association.c.id)
        .join(node, node.c.id == association.c.node_id)
        .where(of_study, association.c.closed_at.is_(None), node.c.stopped_at.is_(None))
        .where(node.c.beat_at > now() - HEARTBEAT_EXPIRES_S)
    ).scalar_one()
    return Arrival(
        study_uid=study.study_uid,
        sender=study.sender,
        modalities=frozenset(row.modality for row in rows),
        views=tuple(
            view
            for row in rows
            if row.is_standard and row.sop_class in sop_classes and (view := parse_view(row.view))
        ),
        last_at=study.last_at,
        quiet_s=study.quiet_s,
        age_s=study.age_s,
        open_associations=open_associations,
    )
