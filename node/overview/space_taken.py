"""What takes space in the store that nobody may remove, and how that is said of a disk.

However large the ledger is, it asks for what an index finds, and measures the oldest of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from node.config import Config
from node.ledger import DispatchState, Ledger, VersionState, schema
from node.ledger.by_hand import undirected
from node.numbers_in_words import counted_studies
from node.overview.disk_space import DiskSpace, size_of_folder

_MOST_MEASURED = 100
"""Studies of each kind whose bytes are added up, the oldest."""
_MOST_PROMISED = 50_000
"""Objects."""
_NAMED = 5
_FULL_DAYS = 7.0
_RESERVE = 4
_RESERVE_OF_CLEANED = 1.5
"""Times `min_free_mb`: with less that is free, it will soon be full. Where a disk is cleaned, only
what cleaning does not prevent."""
_BEFORE_REFUSING = 5.0
"""Percent before `refuse_from_percent`, where nothing is cleaned from a share on."""


class BlockedBecause(StrEnum):
    """Why nobody may remove what takes the space."""

    HELD = "held"
    GIVEN_UP = "given up"
    """Its analysis, a delivery or a message was; or its results have no destination."""
    KEPT = "kept"
    """By a person: `ai-node hold`."""
    PROMISED = "promised"
    """By storage commitment."""


@dataclass(frozen=True, slots=True)
class BlockingStudy:
    """A study that may not be removed."""

    study_uid: str
    last_at: float
    """When its last object came, epoch seconds, UTC."""
    size: int
    """Bytes."""


@dataclass(frozen=True, slots=True)
class Blocked:
    """What may not be removed for one reason; a study may be so for several."""

    because: BlockedBecause
    studies: int
    size: int
    """Bytes."""
    is_least: bool
    """Whether there is more than was measured, or counted."""
    oldest: tuple[BlockingStudy, ...]
    """Of which nothing came for longest; empty for what is promised."""


def space_blocked(ledger: Ledger, config: Config) -> tuple[Blocked, ...]:
    """Return what may not be removed, each reason that there is."""
    with ledger.reading() as db:
        found = [
            _of_studies(db, config.store_dir, because, where)
            for because, where in _blocking(schema.study.c)
        ]
        found.append(_promised(db))
    return tuple(one for one in found if one.studies)


def _blocking(study: Any) -> Iterator[tuple[BlockedBecause, sa.ColumnElement[bool]]]:
    is_held = study.held_reason.is_not(None)
    yield BlockedBecause.HELD, is_held
    yield BlockedBecause.GIVEN_UP, ~is_held & study.study_uid.in_(_given_up())
    yield BlockedBecause.KEPT, study.kept_at.is_not(None)


def _given_up() -> sa.CompoundSelect[Any]:
    """Select the studies of which nothing goes on by itself; each part is found by an index."""
    study, version, dispatch = schema.study, schema.study_version, schema.dispatch
    message = schema.message
    of_version = (study.c.study_uid == version.c.study_uid) & (study.c.version == version.c.number)
    of_dispatch = (study.c.study_uid == dispatch.c.study_uid) & (
        study.c.version == dispatch.c.number
    )
    return sa.union(
        sa.select(version.c.study_uid)
        .join(study, of_version)
        .where(version.c.state == VersionState.CANCELLED),
        sa.select(dispatch.c.study_uid)
        .join(study, of_dispatch)
        .where(dispatch.c.state == DispatchState.DEAD),
        sa.select(message.c.study_uid).where(message.c.state == DispatchState.DEAD),
        undirected().with_only_columns(version.c.study_uid),
    )


def _of_studies(
    db: sa.Connection, store: Path, because: BlockedBecause, where: sa.ColumnElement[bool]
) -> Blocked:
    study = schema.study
    count = sa.select(sa.func.count()).select_from(study).where(where)
    studies: int = db.execute(count).scalar_one()
    if not studies:
        return Blocked(because, 0, 0, False, ())
    oldest = sa.select(study.c.study_uid, study.c.last_at).where(where)
    rows = db.execute(oldest.order_by(study.c.last_at).limit(_MOST_MEASURED)).all()
    sizes = _sizes(db, store, [row.study_uid for row in rows])
    found = [BlockingStudy(row.study_uid, row.last_at, sizes[row.study_uid]) for row in rows]
    total = sum(one.size for one in found)
    return Blocked(because, studies, total, studies > len(found), tuple(found[:_NAMED]))


def _sizes(db: sa.Connection, store: Path, study_uids: Sequence[str]) -> dict[str, int]:
    """Return how many bytes lie of each study; by its files, where a row does not say it."""
    found = dict.fromkeys(study_uids, 0)
    for table, tree in ((schema.instance, "received"), (schema.report, "reports")):
        size = table.c.size_bytes
        unknown = sa.func.count() - sa.func.count(size)
        query = sa.select(table.c.study_uid, sa.func.sum(size), unknown)
        is_there = table.c.study_uid.in_(study_uids) & table.c.removed_at.is_(None)
        for uid, known, not_known in db.execute(query.where(is_there).group_by(table.c.study_uid)):
            found[uid] += round(size_of_folder(store / tree / uid)) if not_known else int(known)
    return found


def _promised(db: sa.Connection) -> Blocked:
    instance = schema.instance
    promised = (
        sa.select(instance.c.study_uid, instance.c.size_bytes)
        .where(instance.c.committed_at.is_not(None))
        .limit(_MOST_PROMISED)
        .subquery()
    )
    size = promised.c.size_bytes
    query = sa.select(
        sa.func.count(sa.distinct(promised.c.study_uid)),
        sa.func.coalesce(sa.func.sum(size), 0),
        sa.func.count(),
        sa.func.count(size),
    )
    studies, total, objects, known = db.execute(query).one()
    is_least = objects == _MOST_PROMISED or known < objects
    return Blocked(BlockedBecause.PROMISED, studies, int(total), is_least, ())


_WORDS = {
    BlockedBecause.HELD: "held",
    BlockedBecause.GIVEN_UP: "given up",
    BlockedBecause.KEPT: "kept by persons",
    BlockedBecause.PROMISED: "promised by storage commitment",
}


def blocked_in_words(one: Blocked) -> str:
    """Return "1.2 GB of 3 studies held"."""
    least = "at least " if one.is_least else ""
    return f"{least}{gigabytes(one.size)} of {counted_studies(one.studies)} {_WORDS[one.because]}"


def gigabytes(size: float) -> str:
    """Return "1.2 GB"."""
    return f"{size / 1e9:.1f} GB"


@dataclass(frozen=True, slots=True)
class Filling:
    """That the store's disk fills, and what to do before anything is refused."""

    words: str
    what_to_do: str


def filling(disk: DiskSpace, min_free: int, blocked: Sequence[Blocked]) -> Filling | None:
    """Return that a store's disk fills before something is refused, None if it does not.

    `min_free` is what must be free in any case, in bytes.
    """
    reserve = _RESERVE if disk.clean_from is None else _RESERVE_OF_CLEANED
    warn_from = _warn_from(disk)
    is_over = warn_from is not None and disk.used_percent >= warn_from
    is_soon = disk.days_left is not None and disk.days_left < _FULL_DAYS
    if not (disk.free < reserve * min_free or is_over or is_soon):
        return None
    words = f"{disk.folder}: {gigabytes(disk.free)} of {gigabytes(disk.total)} free"
    words += f", full in {disk.days_left:.0f} days" if is_soon and disk.days_left else ""
    if is_over:
        words += f", {disk.used_percent:.0f} % in use"
        if disk.clean_from is not None:
            words += f" though it is cleaned from {disk.clean_from:g} % on"
    words += "; images are refused " + (
        "once it is full" if disk.refuse_from is None else f"from {disk.refuse_from:g} % on"
    )
    if blocked:
        words += f"; not removed: {', '.join(map(blocked_in_words, blocked))}"
    return Filling(words, _what_to_do(disk, blocked))


def _warn_from(disk: DiskSpace) -> float | None:
    """Return from which share on cleaning does not keep up, or refusing is near."""
    if disk.clean_from is not None:
        return (disk.clean_from + (disk.refuse_from or 100)) / 2
    return None if disk.refuse_from is None else disk.refuse_from - _BEFORE_REFUSING


def _what_to_do(disk: DiskSpace, blocked: Sequence[Blocked]) -> str:
    steps = []
    reasons = {one.because for one in blocked}
    if BlockedBecause.HELD in reasons:
        steps.append("`ai-node studies --state held` says what ends each")
    if BlockedBecause.GIVEN_UP in reasons:
        steps.append("`ai-node retry` what was given up")
    if BlockedBecause.KEPT in reasons:
        steps.append("`ai-node unhold` what need not be kept")
    if disk.clean_from is None:
        steps.append("let [retention] remove what nobody is owed (docs/retention.md)")
    elif not steps:
        steps.append("fewer days in [retention]")
    if disk.backup and disk.clean_from is not None:
        steps.append(
            f"keep the backup in {disk.backup} on another disk, since what it has is not removed "
            "for want of room"
        )
    return "; ".join([*steps, "make room, or use a larger disk"])
