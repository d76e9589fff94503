"""How many studies stand where, and what waits for whom, for `ai-node status` and `/metrics`.

Counted by the database: as much as there is of it, no row of it is read here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from node.ledger import DeliveryState, DispatchState, Ledger, StudyState, VersionState, now, schema
from node.overview.standing import Standing
from node.result import Priority

_DAY_S = 86_400.0
LATELY_S = 7 * _DAY_S
FORGOTTEN_S = 30 * _DAY_S
"""What nobody has mended for so long is not asked for any more; lists still show it."""
LACKS_LOOK_S = 1800.0
"""A destination that has not taken results for so long after they were ready is to be looked at,
whether or not there has been an error: one that is never tried, or hangs, says nothing."""
LACKS_ACT_S = 3600.0
"""And for so long, to be acted on. The alert rules in config/monitoring have the same times."""
UNCONFIRMED_WAITS = 2
"""What a destination took and has not confirmed is to be looked at after so many times
`commitment_wait_s`: it is there, by all that is known, and is sent again by itself if it is not."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """What a destination does not have yet, or never got. Times are epoch seconds, UTC."""

    destination: str
    studies: int
    """Of which it gets results that are not all there; tried again by themselves."""
    objects: int
    since: float | None
    """When the oldest of these results were ready that it has not taken; None if there are none."""
    unconfirmed_since: float | None
    """When it took the first of a study's results, all taken by now, and one not yet confirmed;
    None if there is no such study."""
    next_at: float | None
    """When the first of them is tried again; None if that is not put off."""
    error: str
    """Why it was put off, "" if it was not."""
    given_up: int
    """Studies whose results are not tried again; none any more a month after they were ready."""
    given_up_lately: int
    """Those whose results were ready within a week."""
    why_given_up: str
    messages: int = 0
    """Of a reading list, which gets no objects: what it is to be told, and has not acknowledged."""
    is_list: bool = False
    """It is told of levels, and gets no results."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What the tables say, in numbers. Times are epoch seconds, UTC."""

    at: float
    """When they were counted."""
    studies: Mapping[tuple[Standing, str], int]
    """By where they stand, and level, "" for none."""
    waiting_since: float | None
    """When the study was closed that has waited longest for its analysis; None if none waits."""
    unread: Mapping[str, tuple[int, float]]
    """By level above routine: how many studies within the open days nobody has marked as read, and
    when the last image came of the one that has waited longest."""
    backlogs: tuple[Backlog, ...]
    stranded: int
    """Studies whose results had no destination; none any more a month after they were ready."""
    stranded_lately: int
    cancelled: int
    """Studies that were to be analysed and cannot be; none any more a month after that."""
    cancelled_lately: int
    """Those of a week of which there was no version before: nobody has any result of them."""
    last_images: Mapping[str, float]
    """When the last image of each sender came that is a peer now."""

    def standing(self, *wanted: Standing) -> int:
        """Return how many studies stand in one of these places."""
        return sum(count for (state, _), count in self.studies.items() if state in wanted)


def figures(ledger: Ledger, senders: tuple[str, ...], *, open_days: float) -> Figures:
    """Count; these are the peers of which it is said when they last sent an image."""
    with ledger.reading() as db:
        stranded, stranded_lately = _stranded(db)
        cancelled, cancelled_lately = _cancelled(db)
        return Figures(
            at=db.execute(sa.select(now())).scalar_one(),
            studies=_studies(db),
            waiting_since=_waiting_since(db),
            unread=_unread(db, open_days * _DAY_S),
            backlogs=_backlogs(db),
            stranded=stranded,
            stranded_lately=stranded_lately,
            cancelled=cancelled,
            cancelled_lately=cancelled_lately,
            last_images=_last_images(db, senders),
        )


def backlogs(ledger: Ledger) -> tuple[Backlog, ...]:
    """Return which destinations lack results, by name; of held studies, none is due."""
    with ledger.reading() as db:
        return _backlogs(db)


def _studies(db: sa.Connection) -> dict[tuple[Standing, str], int]:
    """Count studies as `standing` puts them: a test compares."""
    study, version = schema.study, schema.study_version
    is_newest = (version.c.study_uid == study.c.study_uid) & (version.c.number == study.c.version)
    is_open = sa.or_(study.c.state == StudyState.RECEIVING, version.c.state.is_(None))
    is_closed = study.c.state == StudyState.CLOSED
    standing = sa.case(
        (study.c.held_reason.is_not(None), Standing.HELD),
        (is_open & is_closed, Standing.KEPT),
        (is_open, Standing.RECEIVING),
        (version.c.state != VersionState.FINISHED, sa.cast(version.c.state, sa.Text)),
        (_has_dispatch(DispatchState.QUEUED, DispatchState.RUNNING), Standing.DELIVERING),
        (version.c.error.is_not(None), Standing.UNDELIVERED),
        (_has_dispatch(DispatchState.DEAD), Standing.UNDELIVERED),
        else_=Standing.DONE,
    ).label("standing")
    query = (
        sa.select(standing, study.c.level, sa.func.count().label("how_many"))
        .select_from(study.outerjoin(version, is_newest))
        .group_by(standing, study.c.level)
    )
    found: dict[tuple[Standing, str], int] = {}
    for row in db.execute(query):
        level = "" if row.level is None else str(row.level)
        found[Standing(row.standing), level] = row.how_many
    return found


def _has_dispatch(*states: DispatchState) -> sa.ColumnElement[bool]:
    """Return whether the newest version of a study has a delivery in one of these states.

    Those that have are few, and found by an index; a look at each study's would take long.
    """
    study, dispatch = schema.study, schema.dispatch
    found = sa.select(dispatch.c.study_uid, dispatch.c.number).where(dispatch.c.state.in_(states))
    return sa.tuple_(study.c.study_uid, study.c.version).in_(found)


def _waiting_since(db: sa.Connection) -> float | None:
    table = schema.study_version
    query = sa.select(sa.func.min(table.c.closed_at)).where(table.c.state == VersionState.QUEUED)
    found: float | None = db.execute(query).scalar_one()
    return found


def _unread(db: sa.Connection, open_s: float) -> dict[str, tuple[int, float]]:
    table = schema.study
    found = {}
    for level in sorted((one for one in Priority if one > Priority.ROUTINE), reverse=True):
        query = sa.select(sa.func.count(), sa.func.min(table.c.last_image_at)).where(
            table.c.level == level,
            table.c.last_image_at > now() - open_s,
            table.c.read_at.is_(None),
        )
        count, since = db.execute(query).one()
        if count:
            found[str(level)] = (count, since)
    return found


def _backlogs(db: sa.Connection) -> tuple[Backlog, ...]:
    waiting = {row["destination"]: row for row in _waiting(db)}
    given_up = {row["destination"]: row for row in _given_up(db)}
    nothing: Mapping[str, Any] = {}
    found = []
    for name in sorted({*waiting, *given_up}):
        due, dead = waiting.get(name, nothing), given_up.get(name, nothing)
        found.append(
            Backlog(
                destination=name,
                studies=due.get("studies", 0),
                objects=due.get("objects", 0),
                since=due.get("since"),
                unconfirmed_since=due.get("unconfirmed_since"),
                next_at=due.get("next_at"),
                error=due.get("error") or "",
                given_up=dead.get("studies", 0),
                given_up_lately=dead.get("lately", 0),
                why_given_up=dead.get("error") or "",
            )
        )
    return tuple(sorted([*found, *_untold(db)], key=lambda one: one.destination))


_WAITING = (DispatchState.QUEUED, DispatchState.RUNNING)


def _untold(db: sa.Connection) -> Iterator[Backlog]:
    """Yield what reading lists have not acknowledged, and what is not told them any more."""
    table = schema.message
    is_waiting = table.c.state.in_(_WAITING)
    is_dead = (table.c.state == DispatchState.DEAD) & (table.c.made_at > now() - FORGOTTEN_S)

    def studies(which: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
        return sa.func.count(sa.distinct(sa.case((which, table.c.study_uid))))

    query = (
        sa.select(
            table.c.destination,
            studies(is_waiting).label("studies"),
            sa.func.count(sa.case((is_waiting, 1))).label("messages"),
            sa.func.min(sa.case((is_waiting, table.c.made_at))).label("since"),
            sa.func.min(sa.case((is_waiting, table.c.next_at))).label("next_at"),
            sa.func.max(sa.case((is_waiting, table.c.error))).label("error"),
            studies(is_dead).label("given_up"),
            studies(is_dead & (table.c.made_at > now() - LATELY_S)).label("given_up_lately"),
            sa.func.max(sa.case((is_dead, table.c.error))).label("why_given_up"),
        )
        .where(table.c.state.in_((*_WAITING, DispatchState.DEAD)))  # few, and found by an index
        .group_by(table.c.destination)
    )
    for row in db.execute(query).mappings():
        if not (row["messages"] or row["given_up"]):
            continue
        texts = {name: row[name] or "" for name in ("error", "why_given_up")}
        yield Backlog(**dict(row) | texts, objects=0, unconfirmed_since=None, is_list=True)


def _of_newest() -> tuple[sa.FromClause, sa.ColumnElement[float]]:
    """Return deliveries of the newest versions of studies that are not held, and since when."""
    study, version, dispatch = schema.study, schema.study_version, schema.dispatch
    is_its = (study.c.study_uid == dispatch.c.study_uid) & (study.c.version == dispatch.c.number)
    is_version = (version.c.study_uid == dispatch.c.study_uid) & (
        version.c.number == dispatch.c.number
    )
    joined = dispatch.join(study, is_its & study.c.held_reason.is_(None)).join(version, is_version)
    return joined, sa.func.coalesce(version.c.finished_at, version.c.closed_at)


def _waiting(db: sa.Connection) -> list[sa.RowMapping]:
    dispatch, delivery = schema.dispatch, schema.delivery
    joined, ready_at = _of_newest()

    def of_its(what: sa.ColumnElement[Any], *states: DeliveryState) -> sa.ScalarSelect[Any]:
        is_its = [
            delivery.c[name] == dispatch.c[name] for name in ("study_uid", "number", "destination")
        ]
        query = sa.select(what).select_from(delivery)
        return query.where(*is_its, delivery.c.state.in_(states)).scalar_subquery()

    objects = of_its(sa.func.count(), DeliveryState.QUEUED, DeliveryState.SENT)
    is_taken = of_its(sa.func.count(), DeliveryState.QUEUED) == 0
    sent_at = of_its(sa.func.min(delivery.c.sent_at), DeliveryState.SENT)
    query = (
        sa.select(
            dispatch.c.destination,
            sa.func.count().label("studies"),
            sa.func.sum(objects).label("objects"),
            sa.func.min(sa.case((is_taken, None), else_=ready_at)).label("since"),
            sa.func.min(sa.case((is_taken, sent_at))).label("unconfirmed_since"),
            sa.func.min(dispatch.c.next_at).label("next_at"),
            sa.func.max(dispatch.c.error).label("error"),
        )
        .select_from(joined)
        .where(dispatch.c.state.in_((DispatchState.QUEUED, DispatchState.RUNNING)))
        .group_by(dispatch.c.destination)
    )
    return list(db.execute(query).mappings())


def _given_up(db: sa.Connection) -> list[sa.RowMapping]:
    dispatch = schema.dispatch
    joined, ready_at = _of_newest()
    query = (
        sa.select(
            dispatch.c.destination,
            sa.func.count().label("studies"),
            sa.func.count(sa.case((ready_at > now() - LATELY_S, 1))).label("lately"),
            sa.func.max(dispatch.c.error).label("error"),
        )
        .select_from(joined)
        .where(dispatch.c.state == DispatchState.DEAD, ready_at > now() - FORGOTTEN_S)
        .group_by(dispatch.c.destination)
    )
    return list(db.execute(query).mappings())


def _stranded(db: sa.Connection) -> tuple[int, int]:
    study, version = schema.study, schema.study_version
    is_newest = (version.c.study_uid == study.c.study_uid) & (version.c.number == study.c.version)
    ready_at = version.c.finished_at
    query = (
        sa.select(sa.func.count(), sa.func.count(sa.case((ready_at > now() - LATELY_S, 1))))
        .select_from(version.join(study, is_newest & study.c.held_reason.is_(None)))
        .where(sa.literal_column("study_version.state = 'finished'"))  # in its index's words
        .where(version.c.error.is_not(None), ready_at > now() - FORGOTTEN_S)
    )
    count, lately = db.execute(query).one()
    return count, lately


def _cancelled(db: sa.Connection) -> tuple[int, int]:
    study, version = schema.study, schema.study_version
    is_newest = (version.c.study_uid == study.c.study_uid) & (version.c.number == study.c.version)
    is_closed = (study.c.state == StudyState.CLOSED) & study.c.held_reason.is_(None)
    ended_at = sa.func.coalesce(version.c.finished_at, version.c.closed_at)
    is_first = (ended_at > now() - LATELY_S) & (version.c.number == 1)
    query = (
        sa.select(sa.func.count(), sa.func.count(sa.case((is_first, 1))))
        .select_from(version.join(study, is_newest & is_closed))
        .where(version.c.state == VersionState.CANCELLED, ended_at > now() - FORGOTTEN_S)
    )
    count, lately = db.execute(query).one()
    return count, lately


def _last_images(db: sa.Connection, senders: tuple[str, ...]) -> dict[str, float]:
    table = schema.study
    found = {}
    for sender in senders:  # one look into an index each, where a GROUP BY would read it whole
        query = sa.select(sa.func.max(table.c.last_image_at)).where(table.c.sender == sender)
        at = db.execute(query).scalar_one()
        if at is not None:
            found[sender] = at
    return found
