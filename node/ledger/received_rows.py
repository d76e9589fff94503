"""The rows that an object makes when it comes: what they say, and of whose it is."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import sqlalchemy as sa

from node.identity import merge
from node.ledger import schema
from node.ledger.clock import now
from node.ledger.fixed import Fixed
from node.ledger.records import Received
from node.ledger.rows import insert_into
from node.ledger.states import InstanceState, StudyState
from node.study import Instance, StudyLabels

SAYS_NOTHING = merge(())
"""The identity of an object that does not say whose it is."""

LABELS = tuple(one.name for one in fields(StudyLabels))
"""The columns of a study that say what people know it by."""


def columns_of(instance: Instance, received: Received) -> dict[str, Any]:
    """Return what the row of an instance says of it, but for its UID, state, and when it came."""
    return {
        "study_uid": instance.study_uid,
        "series_uid": instance.series_uid,
        "sop_class": instance.sop_class,
        "transfer_syntax": instance.transfer_syntax,
        "modality": instance.modality,
        "body_part": instance.body_part,
        "view": str(instance.view) if instance.view else None,
        "is_standard": instance.is_standard,
        "details": instance.details or None,
        "path": received.relative_path,
        "digest": instance.digest,
        "size_bytes": received.size_bytes,
        # An archive may have rewritten what we made, and a rejection note bears the identity of
        # what it withdraws: neither says whose the study is.
        "identity": SAYS_NOTHING if received.is_own or received.withdraws else received.identity,
        "why_excluded": received.why_excluded,
        "version": None,
        "association_id": received.association_id,
        # Of a former file of the same, which may be removed.
        "removed_at": None,
        "pixels_digest": None,
        "header_digest": None,
    }


def other_labels(study: sa.Row[Any], received: Received) -> dict[str, Any]:
    """Return what an object says of what people know its study by, as far as that is new."""
    known, said = study._mapping, received.labels
    return {
        name: value for name in LABELS if (value := getattr(said, name)) and value != known[name]
    }


def identities_in(db: sa.Connection, study_uid: str) -> list[str]:
    """Return each that is said once, in order."""
    said = _IDENTITIES.rows(db, study_uid=study_uid, current=str(InstanceState.CURRENT))
    return [identity for (identity,) in said]


def _compose_identities(_: sa.Connection) -> sa.Select[Any]:
    """Go from one to the next greater one, by the index.

    DISTINCT would look at every object of the study, at each one that comes.
    """
    table = schema.instance
    least = sa.select(sa.func.min(table.c.identity).label("identity"))
    of_study = table.c.study_uid == sa.bindparam("study_uid")
    least = least.where(of_study, table.c.state == sa.bindparam("current"))
    found = least.cte("found", recursive=True)
    following = least.where(table.c.identity > found.c.identity).scalar_subquery()
    found = found.union_all(sa.select(following).where(found.c.identity.is_not(None)))
    query = sa.select(found.c.identity).where(found.c.identity.is_not(None))
    return query.order_by(found.c.identity)


_IDENTITIES = Fixed(_compose_identities)


def enter_study(db: sa.Connection, study_uid: str, sender: str) -> None:
    """Make the row of a study of which nothing was here; another may have been faster."""
    state = str(StudyState.CLOSED)
    _ENTER.change(db, study_uid=study_uid, sender=sender, state=state, identity=SAYS_NOTHING)


def _compose_enter(db: sa.Connection) -> sa.Executable:
    values: dict[str, Any] = {name: sa.literal_column("''") for name in LABELS}
    values |= {name: now() for name in ("first_at", "last_at", "last_image_at")}
    return insert_into(db, schema.study).values(values).on_conflict_do_nothing()


_ENTER = Fixed(_compose_enter, ("study_uid", "sender", "state", "identity"))
