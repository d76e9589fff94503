"""Urgent levels that a reading list does not have, and urgent ones that it still has in error."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from pydantic import TypeAdapter

from node.alarms.late import Lack, Late, is_awaited, released_at
from node.alarms.watched import Watched
from node.config import HL7Settings, WebhookSettings
from node.ledger import NOT_TAKEN, TOLD_NOTHING, DispatchState, Mode, VersionState, now, schema
from node.ledger.states import MessageKind
from node.overview.figures import LATELY_S
from node.result import Priority, Result
from node.triage import gives_level

_AT_ONCE = 500


def unacknowledged(db: sa.Connection, watched: Watched) -> Iterator[tuple[str, Late]]:
    """Yield the messages of urgent levels, and that one is taken back, that wait for so long.

    That it is taken back goes for a study that is held, too: it may be held for that.
    """
    study, message = schema.study, schema.message
    is_take_back = message.c.kind != MessageKind.LEVEL
    is_due = study.c.read_at.is_(None) & sa.or_(is_take_back, is_awaited())
    query = (
        sa.select(message, now().label("at"))
        .select_from(message.join(study, (study.c.study_uid == message.c.study_uid) & is_due))
        .where(message.c.state.in_(NOT_TAKEN), message.c.level == Priority.URGENT)
    )
    for row in db.execute(query).all():
        is_dead = row.state == DispatchState.DEAD
        lack, since = Lack.TAKE_BACK, float(row.made_at)
        if row.kind == MessageKind.LEVEL:
            lack, since = Lack.LEVEL, _first_made_at(db, row)
        is_late = row.at - since > watched.config.alarms.urgent_within_s
        if is_late and not (is_dead and row.made_at < row.at - LATELY_S):
            yield row.destination, Late(row.study_uid, since, lack, is_dead, row.error or "")


def _first_made_at(db: sa.Connection, row: sa.Row[Any]) -> float:
    """Return when the first message was made that said so, of those since the list took one."""
    since = float(row.made_at)
    if row.sequence == 1:
        return since
    for before in _messages(db, row.study_uid, row.destination):
        if before.sequence >= row.sequence:
            continue
        says_so = before.kind == MessageKind.LEVEL and before.level == Priority.URGENT
        if not says_so or before.state == DispatchState.FINISHED:
            break
        since = float(before.made_at)
    return min(float(row.made_at), max(since, released_at(db, row.study_uid)))


def untold(db: sa.Connection, watched: Watched) -> Iterator[tuple[str, Late]]:
    """Yield the urgent studies of a week that a list is to be told of, and no message says so.

    Why is said where that is decided; that it is, is seen here, whatever went wrong there.
    """
    at = float(db.execute(sa.select(now())).scalar_one())
    within_s = watched.config.alarms.urgent_within_s
    started_at = _started_at(db, watched)
    for settings in watched.config.lists:
        unspoken = _unspoken_of(db, settings)
        for first in range(0, len(unspoken), _AT_ONCE):
            uids = unspoken[first : first + _AT_ONCE]
            given_at = _given_at(db, uids, settings, watched)
            last_at = _last_at(db, uids, settings.name)
            for uid, given in given_at.items():
                since = max(given, last_at.get(uid, 0.0))
                if at - since <= within_s:
                    continue
                if since >= started_at or _was_there(db, uid, settings.name, since):
                    why = _why_untold(db, uid, settings.name)
                    yield settings.name, Late(uid, since, Lack.MESSAGE, error=why)


def _unspoken_of(db: sa.Connection, settings: HL7Settings | WebhookSettings) -> Sequence[str]:
    """Return the urgent studies by models of a list of which its last message does not say so."""
    study, analysis, message = schema.study, schema.analysis, schema.message
    later = message.alias("later")
    is_given = sa.exists().where(
        analysis.c.study_uid == study.c.study_uid,
        _model().in_(settings.models),
        analysis.c.mode == Mode.DELIVER,
        analysis.c.level == Priority.URGENT,
    )
    of_both = later.c.study_uid == message.c.study_uid, later.c.destination == settings.name
    is_last = ~sa.exists().where(
        *of_both, later.c.sequence > message.c.sequence, later.c.state != DispatchState.CANCELLED
    )
    says_so = sa.exists().where(
        message.c.study_uid == study.c.study_uid,
        message.c.destination == settings.name,
        message.c.kind == MessageKind.LEVEL,
        message.c.level == Priority.URGENT,
        message.c.state != DispatchState.CANCELLED,
        is_last,
    )
    query = (
        sa.select(study.c.study_uid)
        .where(study.c.level == Priority.URGENT, study.c.last_image_at > now() - LATELY_S)
        .where(is_awaited(), is_given, ~says_so)
    )
    if settings.senders:
        query = query.where(study.c.sender.in_(settings.senders))
    return db.execute(query).scalars().all()


def _given_at(
    db: sa.Connection,
    study_uids: Sequence[str],
    settings: HL7Settings | WebhookSettings,
    watched: Watched,
) -> dict[str, float]:
    """Return since when studies are urgent by models of a list; of those that are by these, now."""
    version, analysis = schema.study_version, schema.analysis
    newest, other = dict.fromkeys(study_uids, 0), dict.fromkeys(study_uids, 0)
    finished = sa.select(version.c.study_uid, version.c.number, version.c.level).where(
        version.c.study_uid.in_(study_uids), version.c.state == VersionState.FINISHED
    )
    for row in db.execute(finished):
        newest[row.study_uid] = max(newest[row.study_uid], row.number)
        if row.level != Priority.URGENT:
            other[row.study_uid] = max(other[row.study_uid], row.number)
    may_rank = watched.config.triage.demonstration_may_rank
    result = sa.null() if may_rank else analysis.c.result  # which may be long
    given: sa.Select[Any] = (
        sa.select(
            analysis.c.study_uid, analysis.c.number, analysis.c.finished_at, result.label("result")
        )
        .where(analysis.c.study_uid.in_(study_uids), analysis.c.finished_at.is_not(None))
        .where(_model().in_(settings.models), analysis.c.mode == Mode.DELIVER)
        .where(analysis.c.level == Priority.URGENT)
    )
    found: dict[str, list[sa.Row[Any]]] = {}
    for one in db.execute(given):
        if one.number > other[one.study_uid] and (may_rank or _gives_level(one.result)):
            found.setdefault(one.study_uid, []).append(one)
    return {
        uid: min(float(row.finished_at) for row in rows)
        for uid, rows in found.items()
        if any(row.number >= newest[uid] for row in rows)
    }


def _model() -> sa.ColumnElement[str]:
    """Return a model's name so that SQLite does not look for it in the index of figures."""
    return schema.analysis.c.model.concat("")


def _gives_level(result: str | None) -> bool:
    if result is None:
        return False
    return gives_level(_RESULT.validate_json(result), demonstration_may_rank=False)


def _last_at(db: sa.Connection, study_uids: Sequence[str], name: str) -> dict[str, float]:
    """Return when studies were released last, or something was written to a list of them."""
    message, history = schema.message, schema.history
    written = sa.select(message.c.study_uid, message.c.made_at.label("at")).where(
        message.c.study_uid.in_(study_uids), message.c.destination == name
    )
    released = sa.select(history.c.study_uid, history.c.at).where(
        history.c.study_uid.in_(study_uids), history.c.event.like("released: %")
    )
    found: dict[str, float] = {}
    for query in (written, released):
        for row in db.execute(query):
            found[row.study_uid] = max(found.get(row.study_uid, 0.0), float(row.at))
    return found


def _started_at(db: sa.Connection, watched: Watched) -> float:
    """Return since when this node runs with the configuration that it has."""
    node = schema.node
    query = sa.select(sa.func.max(node.c.started_at)).where(
        node.c.place.startswith(f"{watched.place} ", autoescape=True)
    )
    return db.execute(query).scalar_one() or 0.0


def _why_untold(db: sa.Connection, study_uid: str, name: str) -> str:
    """Return why a list could not be told of a study, as its history says it last; "" if not."""
    table = schema.history
    begins = f"{name} {TOLD_NOTHING}"
    query = sa.select(table.c.event).where(
        table.c.study_uid == study_uid, table.c.event.startswith(begins, autoescape=True)
    )
    event = db.execute(query.order_by(table.c.id.desc()).limit(1)).scalar_one_or_none() or ""
    return event.partition(": ")[2]


def _was_there(db: sa.Connection, study_uid: str, name: str, since: float) -> bool:
    """Return whether a list was named when it was to be told, though that is before our start.

    It was if it had been told anything by then, or if somebody has seen to this study for it:
    nothing is late for a list that has only just been named.
    """
    message, history = schema.message, schema.history
    is_asked = sa.exists().where(schema.study_to_tell.c.study_uid == study_uid)
    was_told = sa.exists().where(message.c.destination == name, message.c.made_at <= since)
    was_decided = sa.exists().where(
        history.c.study_uid == study_uid,
        history.c.event.startswith(f"{name} {TOLD_NOTHING}", autoescape=True),
    )
    return any(db.execute(sa.select(one)).scalar_one() for one in (is_asked, was_told, was_decided))


def _messages(db: sa.Connection, study_uid: str, destination: str) -> Sequence[sa.Row[Any]]:
    """Return what one list was told of a study, the last first."""
    table = schema.message
    names = ("sequence", "kind", "level", "state", "made_at")
    query = sa.select(*(table.c[name] for name in names)).where(
        table.c.study_uid == study_uid, table.c.destination == destination
    )
    return db.execute(query.order_by(table.c.sequence.desc())).all()


_RESULT = TypeAdapter(Result)
