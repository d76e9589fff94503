"""The objects of a study: each that came, each that was made of it, and how long its steps took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from node.ledger import InstanceState, Ledger, schema


@dataclass(frozen=True, slots=True)
class InstanceOverview:
    """An object that came. Times are epoch seconds, UTC, by the ledger's clock."""

    sop_uid: str
    series_uid: str
    modality: str
    body_part: str
    view: str
    """"R MLO", "" if it shows none."""
    is_standard: bool
    """Whether it stands for its view."""
    state: InstanceState
    version: int | None
    """Of its study that it was first a part of; None: of none yet."""
    received_at: float
    why_excluded: str
    why_withdrawn: str
    corrected: int
    """How often it came again with another header."""


@dataclass(frozen=True, slots=True)
class ReportOverview:
    """A result object of the newest version."""

    sop_uid: str
    kind: str
    """One of kinds.KINDS."""
    path: str
    """In the store."""


@dataclass(frozen=True, slots=True)
class StudyObjects:
    """All objects of a study."""

    instances: Sequence[InstanceOverview]
    """In the order in which they came."""
    reports: Sequence[ReportOverview]
    """In the order in which they are sent."""
    confirmed_at: float | None
    """When the last that a destination has confirmed was, if any was."""


def study_objects(ledger: Ledger, study_uid: str) -> StudyObjects:
    """Return the objects of a study; none if it is not known."""
    with ledger.reading() as db:
        version = db.scalar(
            sa.select(schema.study.c.version).where(schema.study.c.study_uid == study_uid)
        )
        withdrawn = {uid: reason for uid, reason in db.execute(_withdrawn(study_uid))}
        instances = [
            InstanceOverview(
                sop_uid=row.sop_uid,
                series_uid=row.series_uid,
                modality=row.modality,
                body_part=row.body_part or "",
                view=row.view or "",
                is_standard=row.is_standard,
                state=row.state,
                version=row.version,
                received_at=row.received_at,
                why_excluded=row.why_excluded or "",
                why_withdrawn=withdrawn.get(row.sop_uid, ""),
                corrected=row.corrected,
            )
            for row in db.execute(_instances(study_uid))
        ]
        reports = [ReportOverview(*row) for row in db.execute(_reports(study_uid, version or 0))]
        confirmed_at = db.scalar(_last_confirmed(study_uid, version or 0))
    return StudyObjects(instances, reports, confirmed_at)


def find_report(ledger: Ledger, study_uid: str, sop_uid: str) -> ReportOverview | None:
    """Return a result object of any version of a study, None if it has no such."""
    table = schema.report
    query = sa.select(table.c.sop_uid, schema.report_kind, table.c.path)
    query = query.where(table.c.study_uid == study_uid, table.c.sop_uid == sop_uid)
    with ledger.reading() as db:
        row = db.execute(query).one_or_none()
    return None if row is None else ReportOverview(*row)


def _instances(study_uid: str) -> sa.Select[Any]:
    table, former = schema.instance, schema.former_instance
    corrected = (
        sa.select(sa.func.count())
        .select_from(former)
        .where(former.c.sop_uid == table.c.sop_uid)
        .correlate(table)
        .scalar_subquery()
        .label("corrected")
    )
    what = [column for column in table.c if column is not table.c.details]  # long, and not shown
    query = sa.select(*what, corrected).where(table.c.study_uid == study_uid)
    return query.order_by(table.c.received_at, table.c.sop_uid)


def _withdrawn(study_uid: str) -> sa.Select[Any]:
    table = schema.rejection
    return sa.select(table.c.sop_uid, table.c.reason).where(table.c.study_uid == study_uid)


def _reports(study_uid: str, number: int) -> sa.Select[Any]:
    table = schema.report
    query = sa.select(table.c.sop_uid, schema.report_kind, table.c.path)
    query = query.where(table.c.study_uid == study_uid, table.c.number == number)
    return query.order_by(table.c.position)


def _last_confirmed(study_uid: str, number: int) -> sa.Select[Any]:
    table = schema.delivery
    return sa.select(sa.func.max(table.c.confirmed_at)).where(
        table.c.study_uid == study_uid, table.c.number == number
    )
