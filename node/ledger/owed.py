"""What somebody is still to get, or was promised: of such a study nothing is removed.

The one place that says so. A study that no model reads, or that is excluded by itself, is owed
nothing as long as nobody was promised anything: no answer to it waits, and none was given up.
"""

from __future__ import annotations

from enum import StrEnum

import sqlalchemy as sa

from node.ledger import schema
from node.ledger.states import DispatchState, StudyState, VersionState

_study = schema.study.c
_OPEN = (DispatchState.QUEUED, DispatchState.RUNNING)


def _of_study(table: sa.Table, *conditions: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    """Whether the study of the query around it has such a row."""
    is_its = table.c.study_uid == _study.study_uid
    return sa.exists().where(is_its, *conditions).correlate(schema.study)


def _is_in(table: sa.Table, *states: StrEnum) -> sa.ColumnElement[bool]:
    """Whether a row is in such a state.

    Looked at in the rows of the study, never by the index of states: of those that wait there may
    be thousands, and SQLite would go through all of them for each study.
    """
    return sa.func.coalesce(table.c.state, sa.literal_column("''")).in_(states)


def _newest(*conditions: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    """Whether the newest version is such a one."""
    table = schema.study_version
    return _of_study(table, table.c.number == _study.version, *conditions)


def _is_stranded() -> sa.ColumnElement[bool]:
    """Whether results are there, were to be sent, and go nowhere (`by_hand.undirected`)."""
    version, dispatch, report = schema.study_version.c, schema.dispatch.c, schema.report.c
    is_directed = sa.exists().where(
        dispatch.study_uid == version.study_uid, dispatch.number == version.number
    )
    is_there = sa.exists().where(
        report.study_uid == version.study_uid, report.number == version.number
    )
    return _newest(
        _is_in(schema.study_version, VersionState.FINISHED),
        version.error.is_not(None),
        ~is_directed,
        is_there,
    )


def _is_asked_about() -> sa.ColumnElement[bool]:
    """Whether a peer has asked for storage commitment of an object, and has no answer yet."""
    instance, asked = schema.instance, schema.commitment_object
    query = sa.exists().where(asked.c.sop_uid == instance.c.sop_uid)
    return _of_study(instance, query.correlate(instance))


_version, _dispatch, _message = schema.study_version, schema.dispatch, schema.message

_DEBTS: tuple[tuple[str, sa.ColumnElement[bool]], ...] = (
    ("a person keeps it", _study.kept_at.is_not(None)),
    ("it is held", _study.held_reason.is_not(None)),
    ("it is being received", _study.state == StudyState.RECEIVING),
    ("images of it are asked back", _of_study(schema.asked_back)),
    (
        "it waits to be analysed",
        _of_study(_version, _is_in(_version, VersionState.QUEUED)),
    ),
    ("it is being analysed", _of_study(_version, _is_in(_version, VersionState.RUNNING))),
    ("its analysis was given up", _newest(_is_in(_version, VersionState.CANCELLED))),
    ("its results have no destination", _is_stranded()),
    (
        "results of it are still to be delivered or confirmed",
        _of_study(_dispatch, _is_in(_dispatch, *_OPEN)),
    ),
    (
        "a delivery of it was given up",
        _of_study(
            _dispatch,
            _dispatch.c.number == _study.version,
            _is_in(_dispatch, DispatchState.DEAD),
        ),
    ),
    (
        "it is still to be seen whether a reading list is to be told of it",
        _of_study(schema.study_to_tell),
    ),
    (
        "a message about it is still to be sent",
        _of_study(_message, _is_in(_message, *_OPEN)),
    ),
    (
        "a message about it was given up",
        _of_study(_message, _is_in(_message, DispatchState.DEAD)),
    ),
    (
        "storage commitment was given for it",
        _of_study(schema.instance, schema.instance.c.committed_at.is_not(None)),
    ),
    ("a peer waits for an answer on storage commitment", _is_asked_about()),
)
"""Why something is owed, in words and in SQL about a row of `study`; what is found soonest first.

Of former versions only what still runs counts: what was given up of them will never be sent.
"""

REASONS = tuple(words for words, _ in _DEBTS)
"""All that `why_owed` may say."""

is_owed = sa.or_(*(is_it for _, is_it in _DEBTS))
"""Whether nothing may be removed of a study: about the row of `study` in the query around it."""

reason_owed = sa.case(*((is_it, words) for words, is_it in _DEBTS), else_=None).label("owed")
"""Why that is so, in words; NULL if nothing is owed."""


def why_owed(db: sa.Connection, study_uid: str) -> str | None:
    """Return why nothing may be removed of a study, None if something may, or it is not known.

    What it says holds until the transaction ends only if the study is locked (`rows.lock_study`):
    whoever makes such a debt locks it, too.
    """
    query = sa.select(reason_owed).where(_study.study_uid == study_uid)
    found: str | None = db.execute(query).scalar_one_or_none()
    return found
