"""The reading list, a page at a time: as quick at a hundred thousand studies as at a hundred.

A page begins behind the last study of the page before, by the columns that it is ordered by, never
at a number of rows: what stands before it is not read. Each level of the open list is read by
itself, along `ix_study_open`. What is asked for besides is looked up first where it is rare, and
found on the way where it is not: neither reads more than a few thousand rows.
"""

from __future__ import annotations

import base64
import binascii
import functools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa

from node.ledger import DispatchState, Ledger, StudyState, VersionState, now, schema
from node.overview.reading import DAY_S, Depth, each_study, read_batch
from node.overview.standing import Standing, StudyOverview
from node.result import Priority

AT_MOST_COUNTED = 1000
"""A count as high as this means: this many, or more."""
_FEW = 1000
"""So many studies are looked at one by one; of what is more frequent a page is found on the way."""

Sought = Literal["", "today", "waiting", "failed", "held", "excluded"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which studies a page shows; what is empty does not matter."""

    is_open: bool = False
    """Those that somebody should read: not marked as read, the last image within `open_days`, and
    neither excluded nor withdrawn nor kept. They stand by their level, in it those first that have
    waited longest; all others by their last image, the newest first."""
    sought: Sought = ""
    """Today: its last image came today, by this machine's clock. Waiting: more is to come of it by
    itself. Failed: its results do not reach everybody, or there are none. A study may be both."""
    level: str = ""
    """A triage level in words, or "none"."""
    sender: str = ""
    model: str = ""
    """It works on the newest version, whatever comes of it."""
    since: float | None = None
    """Its last image is not older: epoch seconds, UTC."""
    accession_number: str = ""
    patient_id: str = ""
    study_uid: str = ""
    after: str = ""
    """`ListPage.following` of the page before."""
    limit: int = 50


@dataclass(frozen=True, slots=True)
class ListPage:
    """A part of a list."""

    studies: tuple[StudyOverview, ...]
    """Without results and history: what models say stands in `ModelOverview.outcome`."""
    following: str
    """What the next page begins after; "" if this is the last."""
    counts: Mapping[str, int]
    """Whatever page it is: of the open list urgent, soon and not assessed; of all studies waiting,
    failed and held; excluded within `open_days`. At most `AT_MOST_COUNTED` each."""


def list_page(ledger: Ledger, wanted: Wanted, *, open_days: float) -> ListPage:
    """Return a page of studies; an unreadable `after` means the first."""
    with ledger.reading() as db:
        at = float(db.execute(sa.select(now())).scalar_one())
        query = _Query(db, at, at - open_days * DAY_S)
        keys = query.keys(wanted)
        batch = read_batch(db, [key.study_uid for key in keys[: wanted.limit]], Depth.ROW)
        counts = query.counts()
    is_last = len(keys) <= wanted.limit
    return ListPage(
        studies=tuple(batch.overviews()),
        following="" if is_last else _cursor(keys[wanted.limit - 1]),
        counts=counts,
    )


_SOUGHT: Mapping[Standing, Sought] = {
    Standing.RECEIVING: "waiting",
    Standing.QUEUED: "waiting",
    Standing.RUNNING: "waiting",
    Standing.DELIVERING: "waiting",
    Standing.UNDELIVERED: "failed",
    Standing.CANCELLED: "failed",
    Standing.HELD: "held",
    Standing.EXCLUDED: "excluded",
}
"""Among which studies those are that stand so; of what is not here, among all."""


def each_wanted(
    ledger: Ledger,
    wanted: Wanted,
    *,
    open_days: float,
    standing: Standing | None = None,
    with_outlines: bool = False,
) -> Iterator[StudyOverview]:
    """Yield every study that is wanted, in the order of `each_study`, as it does.

    `is_open`, `level`, `after` and `limit` do not matter.
    """
    if standing is not None:
        wanted = replace(wanted, sought=_SOUGHT.get(standing, ""))
    where = [sa.or_(*(one.holds() for one in anyone)) for anyone in _conditions(wanted)]
    if wanted.since is not None:
        where.append(schema.study.c.last_image_at >= wanted.since)
    found = each_study(ledger, with_outlines=with_outlines, where=where, open_days=open_days)
    for study in found:
        if standing in (None, study.state):
            yield study


_LEVELS: Sequence[tuple[int, Priority | None]] = (
    (1, Priority.URGENT),
    (2, Priority.SOON),
    (3, Priority.NOT_ASSESSED),
    (4, Priority.ROUTINE),
    (4, None),
)
"""Where each stands. Routine and no level stand together: neither asks to be read sooner."""

_Cursor = tuple[int, float, str]
"""Rank, time of the last image, Study Instance UID."""


def _cursor(key: sa.Row[Any]) -> str:
    said = json.dumps([key.rank, key.last_image_at, key.study_uid]).encode()
    return base64.urlsafe_b64encode(said).decode().rstrip("=")


def _parse(cursor: str) -> _Cursor | None:
    """Return what a cursor says; anybody may have written it."""
    try:
        said = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        rank, at, study_uid = json.loads(said)
        return int(rank), float(at), str(study_uid)
    except (binascii.Error, ValueError, TypeError, OverflowError):
        return None


@dataclass(frozen=True, slots=True)
class _Condition:
    """Something that studies have in common, found from a table that has an index for it."""

    of_study: sa.ColumnElement[bool]
    table: sa.Table | None = None
    """It has rows for the newest version; None: the study's own row says it all."""
    of_row: sa.ColumnElement[bool] | None = None

    def _of_newest(self, table: sa.Table) -> sa.ColumnElement[bool]:
        study = schema.study
        is_newest = (table.c.study_uid == study.c.study_uid) & (table.c.number == study.c.version)
        return is_newest if self.of_row is None else is_newest & self.of_row

    def uids(self) -> sa.Select[Any]:
        """Select the studies, each perhaps several times."""
        query = sa.select(schema.study.c.study_uid).where(self.of_study)
        if self.table is None:
            return query
        return query.select_from(self.table).join(schema.study, self._of_newest(self.table))

    def holds(self) -> sa.ColumnElement[bool]:
        """Return whether it holds for the study of a query."""
        if self.table is None:
            return self.of_study
        rows = sa.select(sa.literal(1)).select_from(self.table)
        exists = rows.where(self._of_newest(self.table)).correlate(schema.study).exists()
        return self.of_study & exists


def _is_one_of(
    table: sa.Table, first: VersionState | DispatchState, *others: VersionState | DispatchState
) -> sa.ColumnElement[bool]:
    """Return whether a row has such a state, in the words of the indexes of some rows only."""
    words: list[sa.ColumnElement[str]] = [
        sa.literal_column(f"'{state}'") for state in (first, *others)
    ]
    return table.c.state.in_(words) if others else table.c.state == words[0]


def _is_closed() -> sa.ColumnElement[bool]:
    """Return whether a study is closed, so that no index is looked into: nearly all are."""
    return schema.study.c.state != StudyState.RECEIVING


def _sought(sought: str) -> Sequence[_Condition]:
    """Return the conditions of which any makes a study one of those sought."""
    study, version, dispatch = schema.study, schema.study_version, schema.dispatch
    is_held = study.c.held_reason.is_not(None)
    is_closed = ~is_held & _is_closed()
    is_receiving = ~is_held & (study.c.state == StudyState.RECEIVING)
    if sought == "held":
        return (_Condition(is_held),)
    if sought == "waiting":
        works = _is_one_of(version, VersionState.QUEUED, VersionState.RUNNING)
        sends = _is_one_of(dispatch, DispatchState.QUEUED, DispatchState.RUNNING)
        return (
            _Condition(is_receiving),
            _Condition(is_closed, version, works),
            _Condition(is_closed, dispatch, sends),
        )
    if sought == "failed":
        goes_nowhere = _is_one_of(version, VersionState.FINISHED) & version.c.error.is_not(None)
        return (
            _Condition(is_closed, dispatch, _is_one_of(dispatch, DispatchState.DEAD)),
            _Condition(is_closed, version, goes_nowhere),
            _Condition(is_closed, version, _is_one_of(version, VersionState.CANCELLED)),
        )
    return (_Condition(is_closed, version, _is_one_of(version, VersionState.EXCLUDED)),)


def _conditions(wanted: Wanted) -> Iterable[Sequence[_Condition]]:
    """Yield what is asked for besides the order: of each, any is enough."""
    study, analysis = schema.study, schema.analysis
    if wanted.sought not in ("", "today"):
        yield _sought(wanted.sought)
    for name in ("study_uid", "accession_number", "patient_id", "sender"):
        if value := getattr(wanted, name):
            yield (_Condition(study.c[name] == value),)
    if wanted.model:
        yield (_Condition(sa.true(), analysis, analysis.c.model == wanted.model),)


def midnight(at: float) -> float:
    """Return when the day began, where this machine is."""
    local = datetime.fromtimestamp(at).astimezone()
    return local.replace(hour=0, minute=0, second=0, microsecond=0).timestamp()


@dataclass(frozen=True, slots=True)
class _Query:
    """Finds the studies of a page, in their order."""

    db: sa.Connection
    at: float
    open_since: float

    def counts(self) -> dict[str, int]:
        """Return how many there are of each."""
        row = self.db.execute(_counts(), {"open_since": self.open_since}).one()
        return {name: int(count) for name, count in row._mapping.items()}

    def keys(self, wanted: Wanted) -> Sequence[sa.Row[Any]]:
        """Return the keys of a page, and one more if there are more."""
        rare, frequent = self._rare_and_frequent(wanted)
        study = schema.study
        if rare is not None and not rare:
            return ()
        where = [*frequent, *self._times(wanted)]
        if rare is not None:
            where.append(study.c.study_uid.in_(sorted(rare)))
        if not wanted.is_open:
            query = self._newest_first(wanted, where)
        elif rare is not None:
            query = self._by_level(wanted, where)
        else:
            query = self._level_by_level(wanted, where)
        return self.db.execute(query.limit(_PAGE), {"page": wanted.limit + 1}).all()

    def _rare_and_frequent(
        self, wanted: Wanted
    ) -> tuple[set[str] | None, list[sa.ColumnElement[bool]]]:
        """Look up what is rare: return the studies that all of that leaves, and the rest."""
        rare: set[str] | None = None
        frequent = []
        for anyone in _conditions(wanted):
            found = self._few(anyone)
            if found is None:
                frequent.append(sa.or_(*(condition.holds() for condition in anyone)))
            else:
                rare = found if rare is None else rare & found
        return rare, frequent

    def _few(self, anyone: Sequence[_Condition]) -> set[str] | None:
        """Return the studies for which any of the conditions holds, None if that is frequent."""
        found: set[str] = set()
        for condition in anyone:
            rows = self.db.execute(condition.uids().limit(_FEW + 1)).scalars().all()
            found.update(rows)
            if len(rows) > _FEW or len(found) > _FEW:
                return None
        return found

    def _times(self, wanted: Wanted) -> Iterable[sa.ColumnElement[bool]]:
        came_at = schema.study.c.last_image_at
        if wanted.since is not None:
            yield came_at >= wanted.since
        if wanted.sought == "today":
            yield came_at >= midnight(self.at)

    def _newest_first(
        self, wanted: Wanted, where: Sequence[sa.ColumnElement[bool]]
    ) -> sa.Select[Any]:
        study = schema.study
        order = study.c.last_image_at, study.c.study_uid
        query = sa.select(sa.literal_column("0").label("rank"), *order).where(*where)
        if wanted.level:
            query = query.where(_has_level(wanted.level))
        if (after := _parse(wanted.after)) is not None:
            query = query.where(sa.tuple_(*order) < sa.tuple_(*after[1:]))
        return query.order_by(*(column.desc() for column in order))

    def _by_level(self, wanted: Wanted, where: Sequence[sa.ColumnElement[bool]]) -> sa.Select[Any]:
        """Select from the open list what is rare: it is put in order once it is found."""
        study = schema.study
        places = {str(level): rank for rank, level in _LEVELS if level is not None}
        rank = sa.case(
            *((study.c.level == level, rank) for rank, level in _LEVELS if level is not None),
            else_=max(places.values()),
        )
        order = rank.label("rank"), study.c.last_image_at, study.c.study_uid
        query = sa.select(*order).where(*where, *_is_open())
        query = query.params(open_since=self.open_since)
        if wanted.level:
            query = query.where(_has_level(wanted.level))
        if (after := _parse(wanted.after)) is not None:
            query = query.where(sa.tuple_(rank, *order[1:]) > sa.tuple_(*after))
        return query.order_by(*order)

    def _level_by_level(
        self, wanted: Wanted, where: Sequence[sa.ColumnElement[bool]]
    ) -> sa.Select[Any]:
        after = _parse(wanted.after)
        rank = None if after is None else after[0]
        query = (
            _open_list(rank, wanted.level, where) if where else _whole_open_list(rank, wanted.level)
        )
        values: dict[str, Any] = {"open_since": self.open_since, "page": wanted.limit + 1}
        if after is not None:
            values |= {"after_at": after[1], "after_uid": after[2]}
        return query.params(values)


_OPEN_SINCE = sa.bindparam("open_since", type_=sa.Double)
_PAGE = sa.bindparam("page", type_=sa.Integer)
_AFTER = sa.bindparam("after_at", type_=sa.Double), sa.bindparam("after_uid", type_=sa.Text)


def _is_open() -> list[sa.ColumnElement[bool]]:
    study, version = schema.study, schema.study_version
    is_out = _Condition(
        _is_closed() & study.c.held_reason.is_(None),
        version,
        _is_one_of(version, VersionState.EXCLUDED, VersionState.WITHDRAWN),
    )
    return [
        study.c.read_at.is_(None),
        study.c.last_image_at >= _OPEN_SINCE,
        ~(_is_closed() & (study.c.version == 0)),  # nothing but what says nothing
        ~is_out.holds(),
    ]


@functools.lru_cache(maxsize=64)
def _whole_open_list(after_rank: int | None, word: str) -> sa.Select[Any]:
    """Keep what is asked for again and again: to put it together takes longer than to ask it."""
    return _open_list(after_rank, word, ())


def _open_list(
    after_rank: int | None, word: str, where: Sequence[sa.ColumnElement[bool]]
) -> sa.Select[Any]:
    """Select from the open list, of each level no more than a page, along the index."""
    conditions = [*where, *_is_open()]
    branches = [
        _branch(rank, level, conditions, is_after=rank == after_rank)
        for rank, level in _LEVELS
        if (after_rank is None or rank >= after_rank)
        and word in ("", "none" if level is None else str(level))
    ]
    if not branches:
        branches = [_branch(0, None, [sa.false()], is_after=False)]
    pages = sa.union_all(*(sa.select(branch.subquery()) for branch in branches)).subquery()
    return sa.select(pages).order_by(pages.c.rank, pages.c.last_image_at, pages.c.study_uid)


def _branch(
    rank: int,
    level: Priority | None,
    where: Sequence[sa.ColumnElement[bool]],
    *,
    is_after: bool,
) -> sa.Select[Any]:
    study = schema.study
    key = study.c.last_image_at, study.c.study_uid
    query = sa.select(sa.literal_column(f"{rank}").label("rank"), *key)
    query = query.where(study.c.level == level, *where)
    if is_after:
        query = query.where(sa.tuple_(*key) > sa.tuple_(*_AFTER))
    # By the level, too, which is one: or PostgreSQL would not see the index's order for none.
    return query.order_by(study.c.level, *key).limit(_PAGE)


@functools.cache
def _counts() -> sa.Select[Any]:
    """Select all that `ListPage.counts` says; nothing is counted any further than that."""
    study = schema.study
    (is_excluded,) = _sought("excluded")
    parts: dict[str, Sequence[sa.Select[Any]]] = {
        str(level): [sa.select(study.c.study_uid).where(study.c.level == level, *_is_open())]
        for _, level in _LEVELS
        if level is not None and level > Priority.ROUTINE
    }
    for sought in ("waiting", "failed", "held"):
        parts[sought] = [condition.uids() for condition in _sought(sought)]
    lately = sa.select(study.c.study_uid).where(study.c.last_image_at >= _OPEN_SINCE)
    parts["excluded"] = [lately.where(is_excluded.holds())]
    counts: list[sa.Label[int]] = [_count(of_it).label(name) for name, of_it in parts.items()]
    return sa.Select[Any](*counts)


def _count(parts: Sequence[sa.Select[Any]]) -> sa.ScalarSelect[int]:
    """Count the studies that any of the parts has, each once."""
    most = [part.limit(AT_MOST_COUNTED) for part in parts]
    if len(most) == 1:
        return sa.select(sa.func.count()).select_from(most[0].subquery()).scalar_subquery()
    uids = sa.union(*(sa.select(part.subquery()) for part in most)).subquery()
    limited = sa.select(uids).limit(AT_MOST_COUNTED).subquery()
    return sa.select(sa.func.count()).select_from(limited).scalar_subquery()


def _has_level(word: str) -> sa.ColumnElement[bool]:
    """Return whether a study has this level; for a word that is none nobody has it."""
    if word == "none":
        return schema.study.c.level.is_(None)
    level = next((level for level in Priority if str(level) == word), None)
    return sa.false() if level is None else schema.study.c.level == level
