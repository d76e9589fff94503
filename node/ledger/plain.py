"""What nearly every object is that comes: one more of a study that is being received.

Its row is made in a few fixed statements, and nothing else follows. Whatever is not plain, be it
the object or its study, is left to the rules of `receiving`: a plain object makes the same rows as
it would by them, and anything that they add for other objects belongs in the questions here.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from node.identity import disagreement, merge
from node.ledger import schema
from node.ledger.clock import now
from node.ledger.fixed import Fixed
from node.ledger.received_rows import LABELS, columns_of, enter_study, identities_in, other_labels
from node.ledger.records import Received
from node.ledger.rows import insert_into, open_study
from node.ledger.states import InstanceState, StudyState
from node.study import NO_IMAGES, Instance

_CURRENT = str(InstanceState.CURRENT)
_SAID_AT_FIRST = [
    one.key
    for one in schema.instance.c
    if one.key not in ("received_at", "warmed_at", "committed_at")
]

_NEEDED = (
    *("study_uid", "state", "version", "level", "held_reason", "identity", "read_at"),
    *("images_removed_at", "neighbours_removed_at", *LABELS),
)
"""Of a study's row."""


def is_unheard_of(db: sa.Connection, study_uid: str, sop_uid: str) -> bool:
    """Return whether nothing is known of an object, nor of its study as of a forgotten one."""
    (found,) = _IS_KNOWN.rows(db, study_uid=study_uid, sop_uid=sop_uid)
    return not any(found)


def record_if_plain(
    db: sa.Connection, instance: Instance, received: Received, *, waits: bool = True
) -> bool:
    """Record an object with its study; return False if it is not plain, or its study is not.

    Then the study is entered at most. Unless it `waits`, a study that somebody else has locked is
    not plain, either.
    """
    study = _lock_or_enter(db, instance, received.sender, waits) if _is_new(received) else None
    if study is None or not _is_open(study, instance):
        return False
    uids = {"study_uid": instance.study_uid, "sop_uid": instance.sop_uid}
    (found,) = _LOOK.rows(db, current=_CURRENT, **uids)
    is_unknown = not (found.is_known or found.is_ours or found.is_withdrawn)
    changes = _changes_by_plain(db, study, received, found) if is_unknown else None
    if changes is None:
        return False
    values = columns_of(instance, received) | {"sop_uid": instance.sop_uid, "state": _CURRENT}
    if _INSERT.change(db, **values) != 1:  # another node was faster, in another study
        return False
    is_image = instance.modality not in NO_IMAGES
    if changes or study.state != StudyState.RECEIVING:
        open_study(db, study, changes | ({"last_image_at": now()} if is_image else {}))
    else:
        (_GO_ON_BY_IMAGE if is_image else _GO_ON).change(db, study_uid=instance.study_uid)
    return True


def _is_new(received: Received) -> bool:
    """Return whether an object is one more of its study, as far as that can be told from it."""
    return not received.is_own and received.withdraws is None and received.again is None


def _lock_or_enter(
    db: sa.Connection, instance: Instance, sender: str, waits: bool
) -> sa.Row[Any] | None:
    """Lock and return the row of a study, made now if it is new.

    None if it was forgotten or, unless it `waits`, is locked: to enter that one would wait, too.
    """
    lock, why_none = (_LOCK, _IS_FORGOTTEN) if waits else (_LOCK_IF_FREE, _IS_LOCKED_OR_FORGOTTEN)
    uids = {"study_uid": instance.study_uid}
    study = lock.row(db, **uids)
    if study is not None or why_none.row(db, **uids) is not None:
        return study
    enter_study(db, instance.study_uid, sender)
    return lock.row(db, **uids)  # None: another entered it, and has it or it is forgotten


def _is_open(study: sa.Row[Any], instance: Instance) -> bool:
    """Return whether one more object of a study changes nothing but the study's own row."""
    is_received = study.state == StudyState.RECEIVING or not study.version
    is_free = study.held_reason is None
    has_files = study.images_removed_at is None and study.neighbours_removed_at is None
    is_unread = study.read_at is None or instance.modality in NO_IMAGES
    return is_received and is_free and has_files and is_unread


def _changes_by_plain(
    db: sa.Connection, study: sa.Row[Any], received: Received, found: sa.Row[Any]
) -> dict[str, Any] | None:
    """Return what changes in a study's row; None if whose it is needs a closer look."""
    is_first = found.least_identity is None
    if is_first:
        said = [received.identity]
    elif found.least_identity == found.greatest_identity:
        said = [found.least_identity]
    else:
        said = identities_in(db, study.study_uid)
    if received.identity not in said or disagreement(said):
        return None
    changes = other_labels(study, received)
    if (merged := merge(said)) != study.identity:
        if study.level is not None:
            return None
        changes["identity"] = merged
    if is_first and not study.version and not _has_any(db, study.study_uid):
        changes["sender"] = received.sender
    return changes


def _has_any(db: sa.Connection, study_uid: str) -> bool:
    ((has_any,),) = _HAS_ANY.rows(db, study_uid=study_uid, current=_CURRENT)
    return bool(has_any)


def _of_study(table: sa.Table) -> sa.ColumnElement[bool]:
    return table.c.study_uid == sa.bindparam("study_uid")


def _of_object(table: sa.Table) -> sa.ColumnElement[bool]:
    return table.c.sop_uid == sa.bindparam("sop_uid")


def _compose_is_known(_: sa.Connection) -> sa.Executable:
    return sa.select(
        sa.exists().where(_of_object(schema.instance)),
        sa.exists().where(_of_object(schema.report)),
        sa.exists().where(_of_study(schema.remembered_study)),
    )


def _locking(*, skips: bool) -> Fixed:
    columns = [schema.study.c[name] for name in _NEEDED]  # each column costs something
    query = sa.select(*columns).where(_of_study(schema.study))
    return Fixed(lambda _: query.with_for_update(skip_locked=skips))


def _compose_look(_: sa.Connection) -> sa.Executable:
    """After the lock, and apart from it: else a server answers as before it waited for it."""
    instance, rejection = schema.instance, schema.rejection
    is_current = instance.c.state == sa.bindparam("current")

    def identity(most: Any) -> sa.ScalarSelect[Any]:
        query = sa.select(most(instance.c.identity))  # by the index, which ends in it
        return query.where(_of_study(instance), is_current).scalar_subquery()

    return sa.select(
        sa.exists().where(_of_object(instance)).label("is_known"),
        sa.exists().where(_of_object(schema.report)).label("is_ours"),
        sa.exists().where(_of_object(rejection), _of_study(rejection)).label("is_withdrawn"),
        identity(sa.func.min).label("least_identity"),
        identity(sa.func.max).label("greatest_identity"),
    )


def _compose_insert(db: sa.Connection) -> sa.Executable:
    insert = insert_into(db, schema.instance).values(received_at=now())
    return insert.on_conflict_do_nothing()


def _compose_has_any(_: sa.Connection) -> sa.Executable:
    table = schema.instance
    is_current = table.c.state == sa.bindparam("current")
    return sa.select(sa.exists().where(_of_study(table), is_current))


def _compose_forgotten(_: sa.Connection) -> sa.Executable:
    table = schema.remembered_study
    return sa.select(table.c.study_uid).where(_of_study(table))


def _compose_locked_or_forgotten(_: sa.Connection) -> sa.Executable:
    tables = schema.study, schema.remembered_study
    return sa.union_all(*(sa.select(one.c.study_uid).where(_of_study(one)) for one in tables))


def _going_on(*names: str) -> Fixed:
    values = {name: now() for name in names}
    return Fixed(lambda _: schema.study.update().where(_of_study(schema.study)).values(values))


_IS_KNOWN = Fixed(_compose_is_known)
_IS_FORGOTTEN = Fixed(_compose_forgotten)
_IS_LOCKED_OR_FORGOTTEN = Fixed(_compose_locked_or_forgotten)
_LOCK, _LOCK_IF_FREE = _locking(skips=False), _locking(skips=True)
_LOOK = Fixed(_compose_look)
_HAS_ANY = Fixed(_compose_has_any)
_INSERT = Fixed(_compose_insert, _SAID_AT_FIRST)
_GO_ON = _going_on("last_at")
_GO_ON_BY_IMAGE = _going_on("last_at", "last_image_at")
