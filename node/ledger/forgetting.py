"""Rows that nobody needs any more go: of studies whose files are removed, and what is merely old.

A study goes in one transaction, all of it, and in the same one is remembered what is needed if
something of it comes again (`remembering`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from node.ledger import schema
from node.ledger.clock import now
from node.ledger.database import Ledger
from node.ledger.owed import why_owed
from node.ledger.remembering import remember, rows_of
from node.ledger.retaining import StudyPlace
from node.ledger.states import CommitmentState, VersionState

OF_A_STUDY: Sequence[sa.Table] = (
    schema.former_instance,  # by the instance, so before it
    schema.instance,
    schema.damaged_object,
    schema.rejection,
    schema.study_version,
    schema.analysis,
    schema.report,
    schema.dispatch,
    schema.delivery,
    schema.study_to_tell,
    schema.message,
    schema.asked_back,
    schema.history,
    schema.study,
)
"""The tables whose rows go with their study; in what order, does not matter but for the first."""

RECALLED_FOR_S = 86_400.0
"""So long a study stays that has been recalled: more of it may be on its way."""

EXAMS_KEPT = 1000
"""Of the exams of a model and sender that are compared with its first ones so many stay, the newest
(overview.shift looks at fewer)."""

_ENDED = (CommitmentState.REPORTED, CommitmentState.GIVEN_UP)
_NOT_READ = (VersionState.OUT_OF_SCOPE, VersionState.EXCLUDED)


@dataclass(frozen=True, slots=True)
class Forgetting:
    """What goes, a portion at a time: however much there is, each costs the same."""

    ledger: Ledger

    def removed_after(self, place: StudyPlace, age_s: float, count: int) -> list[StudyPlace]:
        """Return so many studies behind one whose images are removed, the oldest first.

        Their last object came more than `age_s` ago.
        """
        table = schema.study.c
        here = sa.tuple_(table.last_at, table.study_uid)
        query = (
            sa.select(table.last_at, table.study_uid)
            .where(table.images_removed_at.is_not(None), here > sa.tuple_(*map(sa.literal, place)))
            .order_by(table.last_at, table.study_uid)
            .limit(count)
        )
        with self.ledger.reading() as db:
            rows = db.execute(query.where(table.last_at < _before(db, age_s))).all()
        return [(row.last_at, row.study_uid) for row in rows]

    def forget_study(self, study_uid: str, age_s: float) -> bool:
        """Remove all rows of a study; return False if it has to stay as it is.

        Nothing of it is owed, none of its files is there, and no object of it has come for
        `age_s`. Of what no model reads, or is excluded, and never led to anything, nothing is
        remembered: if it comes again, it is as new as it was.
        """
        with self.ledger.writing() as db:
            if not _lock_old(db, study_uid, age_s) or _has_files(db, study_uid):
                return False
            if why_owed(db, study_uid) is not None:
                return False
            if _led_to_something(db, study_uid):
                remember(db, study_uid)
            for table in OF_A_STUDY:
                db.execute(table.delete().where(rows_of(table, study_uid)))
            return True

    def forget_rows(self, age_s: float, count: int) -> int:
        """Remove what is no study's, or outlives it, and is old; at most so many of each kind.

        Return how many.
        """
        with self.ledger.reading() as db:
            before = _before(db, age_s)
            found = [*_old_rows(before), *_old_exams(db, before)]
            old = [one for one in found if db.execute(one.query.limit(1)).first() is not None]
        return sum(self._forget(one, count) for one in old)

    def _forget(self, old: _Old, count: int) -> int:
        # Another node may be at the same; whoever locks them first removes them.
        some = old.query.limit(count).with_for_update(skip_locked=True, of=old.table)
        with self.ledger.writing() as db:
            keys = [dict(row) for row in db.execute(some).mappings()]
            if keys:  # one by one: SQLite finds no list of pairs by an index
                key = old.table.primary_key.columns
                is_one = (column == sa.bindparam(f"its_{column.key}") for column in key)
                each = [{f"its_{name}": value for name, value in one.items()} for one in keys]
                db.execute(old.table.delete().where(*is_one), each)
            return len(keys)


@dataclass(frozen=True, slots=True)
class _Old:
    """Rows of a table that may go, by their primary keys, and along an index if it may be large."""

    table: sa.Table
    query: sa.Select[tuple[str, ...]]


def _old(
    table: sa.Table, *conditions: sa.ColumnElement[bool], by: sa.ColumnElement[float] | None = None
) -> _Old:
    query = sa.select(*table.primary_key.columns).where(*conditions)
    return _Old(table, query if by is None else query.order_by(by))


def _before(db: sa.Connection, age_s: float) -> float:
    """Return when it was so long ago, which PostgreSQL must know to go by an index."""
    at: float = db.execute(sa.select(now())).scalar_one()
    return at - age_s


def _old_rows(before: float) -> Iterator[_Old]:
    score, association, node = schema.image_score, schema.association, schema.node
    yield _old(score, score.c.made_at < before, by=score.c.made_at)
    yield _old(association, association.c.closed_at < before, by=association.c.closed_at)
    yield _old(node, sa.func.coalesce(node.c.stopped_at, node.c.beat_at) < before)
    is_nobodys = ~sa.exists().where(node.c.id == association.c.node_id)
    yield _old(association, association.c.closed_at.is_(None), is_nobodys)
    damaged, ours, asked = schema.damaged_object, schema.commitment, schema.commitment_request
    yield _old(damaged, damaged.c.came_at < before, by=damaged.c.came_at)
    yield _old(ours, ours.c.asked_at < before, by=ours.c.asked_at)
    for state in _ENDED:  # along its index, which begins with the state
        is_old = (asked.c.next_at < before) & (asked.c.ended_at < before)
        yield _old(asked, asked.c.state == state, is_old, by=asked.c.next_at)
    session = schema.web_session
    yield _old(session, session.c.ends_at < before)


def _old_exams(db: sa.Connection, before: float) -> Iterator[_Old]:
    """Yield what was said of exams that are compared with nothing any more.

    Of a model and sender whose first exams are not all there yet they are what is counted.
    """
    exam, reference = schema.exam_score, schema.score_reference
    names = ("model", "model_version", "sender")
    for whose in db.execute(sa.select(*(reference.c[name] for name in names))).all():
        is_its = [exam.c[name] == whose._mapping[name] for name in names]
        newest = sa.select(exam.c.first_at).where(*is_its).order_by(exam.c.first_at.desc())
        last = newest.offset(EXAMS_KEPT - 1).limit(1).scalar_subquery()
        is_old = (exam.c.first_at < before) & (exam.c.finished_at < before)
        yield _old(exam, *is_its, is_old, exam.c.first_at < last, by=exam.c.first_at)


def _lock_old(db: sa.Connection, study_uid: str, age_s: float) -> bool:
    """Lock a study and return True, if it is there and nothing has come of it for so long."""
    table = schema.study
    query = sa.select(table.c.study_uid).where(
        table.c.study_uid == study_uid,
        table.c.images_removed_at.is_not(None),
        table.c.last_at < now() - age_s,
        sa.func.coalesce(table.c.recalled_at, 0) < now() - RECALLED_FOR_S,
    )
    return db.execute(query.with_for_update()).first() is not None


def _has_files(db: sa.Connection, study_uid: str) -> bool:
    """Return whether a file of the study is there, or is yet to be unlinked."""
    unlinking = schema.unlinking
    waits = sa.select(unlinking.c.path).where(unlinking.c.study_uid == study_uid)
    if db.execute(waits.limit(1)).first() is not None:
        return True
    for table in (schema.instance, schema.former_instance, schema.report):
        query = sa.select(table.c.sop_uid).where(rows_of(table, study_uid))
        if db.execute(query.where(table.c.removed_at.is_(None)).limit(1)).first() is not None:
            return True
    return False


def _led_to_something(db: sa.Connection, study_uid: str) -> bool:
    """Return whether a study was analysed or is spoken of, or may not be analysed if it comes."""
    version = schema.study_version
    of_study = rows_of(version, study_uid)
    is_something = (
        (version, of_study & version.c.state.not_in(_NOT_READ)),
        *((table, rows_of(table, study_uid)) for table in _SOMETHING),
    )
    return any(
        db.execute(sa.select(sa.literal(1)).select_from(table).where(is_it).limit(1)).first()
        is not None
        for table, is_it in is_something
    )


_SOMETHING = (schema.report, schema.message, schema.rejection)
