"""Triage levels that a demonstration gave, where it may give none any more."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from pydantic import TypeAdapter

from node.ledger import schema
from node.ledger.database import Ledger
from node.ledger.rows import add_note, change_level, lock_study
from node.ledger.states import Mode, VersionState
from node.result import Priority, Result
from node.triage import deciding

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StudyLevels:
    """The levels that stand in the ledger, from which everybody reads the order of the list."""

    ledger: Ledger

    def drop_demonstrations(self) -> int:
        """Let no level stand that a demonstration gave; return of how many studies one went.

        Where another model gives a level, too, that is the study's. Reports that have been made
        stay as they are. Repeats safely, on any node.
        """
        table = schema.study
        with self.ledger.reading() as db:
            query = sa.select(table.c.study_uid).where(table.c.is_demonstration == sa.true())
            study_uids = db.execute(query).scalars().all()
        for study_uid in study_uids:
            with self.ledger.writing() as db:
                _drop(db, study_uid)
        if study_uids:
            log.warning(
                "%d studies had a level that a demonstration model gave, and have none of it any "
                "more: [triage] demonstration_may_rank is false",
                len(study_uids),
            )
        return len(study_uids)


def _drop(db: sa.Connection, study_uid: str) -> None:
    study = lock_study(db, study_uid)
    if not study.is_demonstration:
        return
    table = schema.study_version
    query = sa.select(table).where(table.c.study_uid == study_uid).order_by(table.c.number.desc())
    left: list[Priority] = []
    is_newer = True  # than the newest that is finished, or that one
    for version in db.execute(query).all():
        level = _without_demonstrations(db, version) if version.is_demonstration else version.level
        if version.is_demonstration:
            is_it = (table.c.study_uid == study_uid) & (table.c.number == version.number)
            change = {"level": level, "is_demonstration": False}
            db.execute(table.update().where(is_it).values(change))
        if level is not None and is_newer:
            left.append(level)
        is_newer = is_newer and version.state != VersionState.FINISHED
    level = max(left, default=None)
    change_level(db, study, level, is_demonstration=False)
    if level != study.level:
        why = "by a demonstration model, which may not rank here"
        add_note(db, study_uid, f"triage level: {study.level} before, {why}; now {level or 'none'}")


def _without_demonstrations(db: sa.Connection, version: sa.Row[Any]) -> Priority | None:
    """Return the level that the other models give that deliver."""
    table = schema.analysis
    query = sa.select(table.c.result).where(
        table.c.study_uid == version.study_uid,
        table.c.number == version.number,
        table.c.mode == Mode.DELIVER,
        table.c.result.is_not(None),
    )
    by = deciding([_RESULT.validate_json(said) for said in db.execute(query).scalars()])
    return by.triage.level if by is not None and by.triage is not None else None


_RESULT = TypeAdapter(Result)
