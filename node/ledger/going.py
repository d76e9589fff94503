"""Rows that say of files that they are gone: removed by retention, or lost with their store."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from node.errors import NodeError
from node.ledger import schema
from node.ledger.rows import update_study


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of which a row says that it is in the store."""

    of: Literal["instance", "former", "report"]
    sop_uid: str
    digest: str
    path: str
    size_bytes: int | None
    is_named: bool = True
    """Its row says all by which a later report names it; of a result of a former release only the
    file does."""


@dataclass(frozen=True, slots=True)
class GoingFile:
    """A file that is to go, and what stays of it, to tell what comes again from it."""

    file: StoredFile
    pixels_digest: str | None = None
    """None: not known, for it cannot be read."""
    header_digest: str | None = None
    series_uid: str | None = None
    """Of a result object whose row does not say it."""
    made_by: tuple[str, ...] | None = None
    """The models that it names, as Manufacturer's Model Name has them."""


class ChangedError(NodeError):
    """A row is not as it was when its file was looked for: nothing is to be said of it."""


def say_gone(db: sa.Connection, study_uid: str, going: Sequence[GoingFile], at: float) -> None:
    """Say in the row of each file that it is gone, and in their study's if no other is left.

    The caller has locked the study. Raises ChangedError if a row speaks of another file by now, or
    a peer was told that it is kept.
    """
    _mark_files(db, going, at)
    _name_reports(db, going)
    _mark_study(db, study_uid, at)


def _mark_files(db: sa.Connection, going: Sequence[GoingFile], at: float) -> None:
    """Say in the row of each file that it is removed; raise ChangedError if one is another."""
    for of, table in _TABLES.items():
        rows = [
            {"a_sop_uid": one.file.sop_uid, "a_path": one.file.path}
            | {name: getattr(one, name) for name in _DIGESTS if name in table.c}
            for one in going
            if one.file.of == of
        ]
        if not rows:
            continue
        is_it = [table.c.sop_uid == sa.bindparam("a_sop_uid"), table.c.removed_at.is_(None)]
        is_it.append(table.c.path == sa.bindparam("a_path"))
        if table is schema.instance:  # a peer may be told just now that it is kept
            is_it.append(table.c.committed_at.is_(None))
        values: dict[str, Any] = {"removed_at": at}
        values |= {name: sa.bindparam(name) for name in _DIGESTS if name in table.c}
        db.execute(table.update().where(*is_it).values(values), rows)
        uids = sorted({row["a_sop_uid"] for row in rows})
        if _count_marked(db, table, uids, at) != len(rows):
            raise ChangedError


def _name_reports(db: sa.Connection, going: Sequence[GoingFile]) -> None:
    """Write down by what a later report names those that a former release has made."""
    table = schema.report
    rows = [
        {"a_sop_uid": one.file.sop_uid, "a_series_uid": one.series_uid}
        | {"a_made_by": json.dumps(one.made_by)}
        for one in going
        if one.file.of == "report" and one.series_uid and one.made_by is not None
    ]
    if rows:
        is_it = table.c.sop_uid == sa.bindparam("a_sop_uid"), table.c.series_uid.is_(None)
        named = (
            table.update()
            .where(*is_it)
            .values(series_uid=sa.bindparam("a_series_uid"), made_by=sa.bindparam("a_made_by"))
        )
        db.execute(named, rows)


_TABLES = {"instance": schema.instance, "former": schema.former_instance, "report": schema.report}
_DIGESTS = ("pixels_digest", "header_digest")
_AT_ONCE = 500


def _count_marked(db: sa.Connection, table: sa.Table, uids: Sequence[str], at: float) -> int:
    count = 0
    for n in range(0, len(uids), _AT_ONCE):
        query = sa.select(sa.func.count()).select_from(table).where(table.c.removed_at == at)
        some = table.c.sop_uid.in_(uids[n : n + _AT_ONCE])
        count += db.execute(query.where(some)).scalar_one()
    return count


def _mark_study(db: sa.Connection, study_uid: str, at: float) -> None:
    """Say of a study what of it there is no more to remove."""
    instance, former, report = schema.instance, schema.former_instance, schema.report
    values: dict[str, Any] = {}
    has_reports = sa.exists().where(report.c.study_uid == study_uid, report.c.removed_at.is_(None))
    if not db.execute(sa.select(has_reports)).scalar_one():
        values["results_removed_at"] = sa.func.coalesce(schema.study.c.results_removed_at, at)
    of_study = instance.c.study_uid == study_uid
    has_images = sa.exists().where(of_study, instance.c.removed_at.is_(None))
    has_former = sa.exists().where(
        of_study, former.c.sop_uid == instance.c.sop_uid, former.c.removed_at.is_(None)
    )
    if not db.execute(sa.select(sa.or_(has_images, has_former))).scalar_one():
        values["images_removed_at"] = sa.func.coalesce(schema.study.c.images_removed_at, at)
    if values:
        db.execute(update_study(study_uid).values(values))
