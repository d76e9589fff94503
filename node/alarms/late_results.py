"""Urgent results that have not arrived, whichever version of their study was to bring them.

A study is urgent until a version says otherwise. Its time counts from the first version that was
found urgent and has not been delivered: another image cancels what waits, and takes no time back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from node.alarms.late import Lack, Late, first_found_at, is_awaited, released_at
from node.alarms.watched import Watched, is_newest
from node.ledger import NOT_TAKEN, DeliveryState, DispatchState, VersionState, now, schema
from node.overview.figures import LATELY_S
from node.result import Priority

REPORT = "report"
"""The subject of studies whose results are not even built."""
_UNBUILT = (VersionState.QUEUED, VersionState.RUNNING)


def undelivered(db: sa.Connection, watched: Watched) -> Iterator[tuple[str, Late]]:
    """Yield what each destination lacks, or has not confirmed, of the newest versions."""
    study, version, dispatch = schema.study, schema.study_version, schema.dispatch
    # Of one that was held and released, or sent again by hand, the time begins anew.
    asked_at = dispatch.c.deadline_at - watched.config.delivery.deliver_within_s
    ended_at = sa.func.coalesce(version.c.finished_at, version.c.closed_at)
    query = (
        sa.select(
            dispatch.c.destination,
            dispatch.c.study_uid,
            dispatch.c.number,
            dispatch.c.state,
            dispatch.c.error,
            sa.func.coalesce(first_found_at(), ended_at).label("found_at"),
            asked_at.label("asked_at"),
            ended_at.label("ready_at"),
            _untaken().label("untaken"),
            now().label("at"),
        )
        .select_from(
            dispatch.join(study, is_newest(dispatch) & is_awaited()).join(
                version,
                (version.c.study_uid == dispatch.c.study_uid)
                & (version.c.number == dispatch.c.number),
            )
        )
        .where(dispatch.c.state.in_(NOT_TAKEN), version.c.level == Priority.URGENT)
    )
    for row in db.execute(query).all():
        since = row.found_at
        if row.number > 1:
            owed = _versions(db, row.study_uid).owed_since(row.destination, row.number)
            if owed is not None:
                since = min(since, max(owed, released_at(db, row.study_uid)))
        if row.ready_at < row.asked_at <= row.at:
            since = max(since, row.asked_at)
        is_dead = row.state == DispatchState.DEAD
        late_s = row.at - since
        if late_s > watched.config.alarms.urgent_within_s and not (is_dead and late_s > LATELY_S):
            is_taken = row.untaken == 0 and not is_dead
            lack = Lack.CONFIRMATION if is_taken else Lack.RESULTS
            yield row.destination, Late(row.study_uid, since, lack, is_dead, row.error or "")


def unbuilt(db: sa.Connection, watched: Watched) -> Iterator[tuple[str, Late]]:
    """Yield the urgent studies whose newest version is not built, if a former is not delivered."""
    at = float(db.execute(sa.select(now())).scalar_one())
    for study_uid in (*_waiting(db), *_stopped(db)):
        since = _versions(db, study_uid).owed_since()
        if since is None:
            continue
        since = max(since, released_at(db, study_uid))
        if at - since > watched.config.alarms.urgent_within_s:
            yield REPORT, Late(study_uid, since, Lack.RESULTS)


def _waiting(db: sa.Connection) -> Sequence[str]:
    """Return the urgent studies that are analysed, or will be."""
    study, version = schema.study, schema.study_version
    query = (
        sa.select(version.c.study_uid)
        .select_from(version.join(study, is_newest() & is_awaited()))
        .where(version.c.state.in_(_UNBUILT))
        .where(sa.or_(study.c.level == Priority.URGENT, version.c.level == Priority.URGENT))
    )
    return db.execute(query).scalars().all()


def _stopped(db: sa.Connection) -> Sequence[str]:
    """Return the urgent studies of a week that were analysed in vain, or before images changed."""
    study, version, dispatch = schema.study, schema.study_version, schema.dispatch
    is_stopped = sa.exists().where(
        dispatch.c.study_uid == version.c.study_uid,
        dispatch.c.number == version.c.number,
        dispatch.c.state == DispatchState.CANCELLED,
    )
    is_cancelled = version.c.state == VersionState.CANCELLED
    is_outdated = (version.c.state == VersionState.FINISHED) & (
        version.c.revision != study.c.revision
    )
    query = (
        sa.select(study.c.study_uid)
        .select_from(study.join(version, is_newest()))
        .where(study.c.level == Priority.URGENT, study.c.last_image_at > now() - LATELY_S)
        .where(is_awaited(), sa.or_(is_cancelled, is_outdated & is_stopped))
    )
    return db.execute(query).scalars().all()


@dataclass(frozen=True, slots=True)
class _Versions:
    """A study's versions, the newest first, and by version which destinations have its results."""

    rows: Sequence[sa.Row[Any]]
    has_it: Mapping[int, Mapping[str, bool]]

    def owed_since(self, destination: str = "", below: int | None = None) -> float | None:
        """Return when the first version was found urgent that has not been delivered.

        To one destination, or "" to all that it was meant for; of versions below a number. None
        if each has been, or none is urgent.
        """
        since: float | None = None
        for row in self.rows:
            if below is not None and row.number >= below:
                continue
            is_urgent = row.level == Priority.URGENT
            if row.state == VersionState.FINISHED and not is_urgent:
                break
            has_it = self.has_it.get(row.number, {})
            is_there = all(has_it.values()) if not destination else has_it.get(destination, True)
            if has_it and is_there:
                break
            if is_urgent:
                since = _found_at(row) or since
        return since


def _versions(db: sa.Connection, study_uid: str) -> _Versions:
    version, dispatch = schema.study_version, schema.dispatch
    of_it = (
        sa.select(
            version.c.number,
            version.c.state,
            version.c.level,
            version.c.closed_at,
            version.c.finished_at,
            (version.c.crashes + version.c.failures + version.c.troubles).label("vain"),
            first_found_at().label("found_at"),
        )
        .where(version.c.study_uid == study_uid)
        .order_by(version.c.number.desc())
    )
    sent = sa.select(
        dispatch.c.number, dispatch.c.destination, dispatch.c.state, _untaken().label("untaken")
    ).where(dispatch.c.study_uid == study_uid)
    has_it: dict[int, dict[str, bool]] = {}
    for row in db.execute(sent):
        is_taken = row.untaken == 0 and row.state != DispatchState.DEAD
        is_there = row.state == DispatchState.FINISHED or is_taken
        has_it.setdefault(row.number, {})[row.destination] = is_there
    return _Versions(db.execute(of_it).all(), has_it)


def _found_at(row: sa.Row[Any]) -> float | None:
    """Return when a version was found urgent.

    One of which an attempt has said so and not ended well has no results that say when; while its
    first attempt goes on, it has only just been found.
    """
    if row.found_at is not None:
        return float(row.found_at)
    if row.state in _UNBUILT and not row.vain:
        return None
    return float(row.finished_at or row.closed_at)


def _untaken() -> sa.ScalarSelect[int]:
    """Return how many objects of a dispatch its destination has not taken."""
    dispatch, delivery = schema.dispatch, schema.delivery
    is_its = [delivery.c[key] == dispatch.c[key] for key in ("study_uid", "number", "destination")]
    untaken = sa.select(sa.func.count()).select_from(delivery)
    return untaken.where(*is_its, delivery.c.state == DeliveryState.QUEUED).scalar_subquery()
