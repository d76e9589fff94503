"""What a person, or a node that starts, finds unfinished: only read, of newest versions alone."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from node.ledger import schema
from node.ledger.by_hand import undirected
from node.ledger.clock import now
from node.ledger.database import Ledger
from node.ledger.states import DispatchState, HeldBecause, StudyState, VersionState

_LATEST = 20
"""Studies excluded of which the reasons are told."""


@dataclass(frozen=True, slots=True)
class Unfinished:
    """How much a node that starts takes up again."""

    receiving: int
    """Studies of which more is waited for; the others count versions of studies."""
    queued: int
    running: int
    deliveries: int
    """Report sets on their way to a destination, one for each."""

    @property
    def is_nothing(self) -> bool:
        """Whether there is none of it."""
        return not (self.receiving or self.queued or self.running or self.deliveries)


@dataclass(frozen=True, slots=True)
class HeldStudy:
    """A study of which nothing is analysed or sent."""

    study_uid: str
    because: HeldBecause
    reason: str


@dataclass(frozen=True, slots=True)
class Stranded:
    """A study whose results nobody was to get."""

    study_uid: str
    reason: str


@dataclass(frozen=True, slots=True)
class Excluded:
    """What became of the studies of one sender."""

    sender: str
    excluded: int
    """Studies that are analysed only if a person says so."""
    others: int
    """All others of that sender, also those that are still being received."""
    study_uid: str
    """The one of those excluded that came last."""
    reasons: tuple[str, ...]
    """Why that one is, and others of the newest, each reason once."""

    @property
    def is_newcomer(self) -> bool:
        """Whether nothing has come back to that sender yet, and it should hear why."""
        return not self.others


@dataclass(frozen=True, slots=True)
class Outstanding:
    """What is to be done, and by whom if not by the node."""

    ledger: Ledger

    def unfinished(self) -> Unfinished:
        """Return how much there is that a node takes up by itself."""
        study, version, dispatch = schema.study, schema.study_version, schema.dispatch
        is_open = dispatch.c.state.in_((DispatchState.QUEUED, DispatchState.RUNNING))
        is_receiving = (study.c.state == StudyState.RECEIVING) & study.c.held_reason.is_(None)
        with self.ledger.reading() as db:
            return Unfinished(
                receiving=_count(db, study, is_receiving),
                queued=_count(db, version, version.c.state == VersionState.QUEUED),
                running=_count(db, version, version.c.state == VersionState.RUNNING),
                deliveries=_count(db, dispatch, is_open),
            )

    def held(self) -> list[HeldStudy]:
        """Return the studies that are held, the newest first."""
        study = schema.study
        query = sa.select(study.c.study_uid, study.c.held_because, study.c.held_reason)
        is_held = study.c.held_reason.is_not(None)
        with self.ledger.reading() as db:
            rows = db.execute(query.where(is_held).order_by(study.c.last_at.desc())).all()
        return [
            HeldStudy(row.study_uid, row.held_because or HeldBecause.UNKNOWN, row.held_reason)
            for row in rows
        ]

    def stranded(self, within_s: float) -> list[Stranded]:
        """Return the studies whose results are there, were to be sent, and had no destination.

        Of those alone whose results are not older, in seconds.
        """
        version, report = schema.study_version, schema.report
        is_there = sa.exists().where(
            report.c.study_uid == version.c.study_uid, report.c.number == version.c.number
        )
        is_late = version.c.finished_at > now() - within_s
        with self.ledger.reading() as db:
            rows = db.execute(undirected().where(is_there, is_late)).all()
        return [Stranded(row.study_uid, row.error) for row in rows]

    def excluded(self) -> list[Excluded]:
        """Return of which senders studies are excluded, by name."""
        study, version = schema.study, schema.study_version
        is_newest = (version.c.study_uid == study.c.study_uid) & (
            version.c.number == study.c.version
        )
        is_excluded = version.c.state == VersionState.EXCLUDED
        counts = (
            sa.select(
                study.c.sender,
                sa.func.count().label("how_many"),
                sa.func.count(sa.case((is_excluded, 1))).label("excluded"),
            )
            .join_from(study, version, is_newest, isouter=True)
            .group_by(study.c.sender)
            .order_by(study.c.sender)
        )
        newest = (
            sa.select(study.c.study_uid, version.c.error)
            .join_from(study, version, is_newest)
            .where(is_excluded)
            .order_by(study.c.last_at.desc())
            .limit(_LATEST)
        )
        found = []
        with self.ledger.reading() as db:
            for row in db.execute(counts.having(sa.func.count(sa.case((is_excluded, 1))) > 0)):
                latest = db.execute(newest.where(study.c.sender == row.sender)).all()
                reasons = dict.fromkeys(one.error or "no reason was recorded" for one in latest)
                others = row.how_many - row.excluded
                uid = latest[0].study_uid
                found.append(Excluded(row.sender, row.excluded, others, uid, tuple(reasons)))
        return found


def _count(db: sa.Connection, table: sa.Table, is_wanted: sa.ColumnElement[bool]) -> int:
    query = sa.select(sa.func.count()).select_from(table).where(is_wanted)
    return int(db.execute(query).scalar_one())
