"""Objects that were refused as damaged: part of no study, and not forgotten by it.

They are of the study that they name, as far as they can be read; else of each study that has
something of the same association. One that comes whole later was not damaged for good.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from node.ledger import schema
from node.ledger.clock import now
from node.ledger.rows import insert_into


@dataclass(frozen=True, slots=True)
class DamagedObject:
    """An object that was refused as damaged."""

    key: str
    """Its SOP Instance UID; of one that has none, a digest: who repeats it makes no second row."""
    study_uid: str | None
    """None if that cannot be read."""
    association_id: str
    reason: str


def add_damaged(db: sa.Connection, damaged: DamagedObject) -> None:
    """Remember one."""
    table = schema.damaged_object
    values = {
        "study_uid": damaged.study_uid,
        "association_id": damaged.association_id,
        "reason": damaged.reason,
        "came_at": now(),
    }
    insert = insert_into(db, table).values(object_key=damaged.key, **values)
    db.execute(insert.on_conflict_do_update(index_elements=["object_key"], set_=values))


def damaged_in(db: sa.Connection, study_uids: Collection[str]) -> Mapping[str, Sequence[str]]:
    """Return for each study why objects of it were refused as damaged, a reason for each object."""
    table, instance = schema.damaged_object, schema.instance
    came_whole = sa.exists().where(instance.c.sop_uid == table.c.object_key)
    of_study = sa.select(table.c.study_uid, table.c.reason).where(table.c.study_uid.in_(study_uids))
    found: defaultdict[str, list[str]] = defaultdict(list)
    came = _came_with(study_uids)
    of_nobody = (
        sa.select(came.c.study_uid, table.c.reason)
        .join(table, table.c.association_id == came.c.association_id)
        .where(table.c.study_uid.is_(None))
    )
    for query in (of_study, of_nobody):
        for row in db.execute(query.where(~came_whole).order_by(table.c.came_at)):
            found[row.study_uid].append(row.reason)
    return found


def _came_with(study_uids: Collection[str]) -> sa.CTE:
    """Return the associations of these studies, each once, from one to the next in the index.

    DISTINCT would look at each of their objects, and what is damaged is never removed.
    """
    instance = schema.instance

    def next_one(of: sa.FromClause, *behind: sa.ColumnElement[bool]) -> sa.Label[str | None]:
        first = sa.select(sa.func.min(instance.c.association_id))
        query = first.where(instance.c.study_uid == of.c.study_uid, *behind)
        return query.correlate(of).scalar_subquery().label("association_id")

    study = schema.study
    begin = sa.select(study.c.study_uid, next_one(study)).where(study.c.study_uid.in_(study_uids))
    came = begin.cte("came_with", recursive=True)
    step = next_one(came, instance.c.association_id > came.c.association_id)
    more = sa.select(came.c.study_uid, step).where(came.c.association_id.is_not(None))
    return came.union_all(more)
