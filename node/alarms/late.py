"""What is urgent and late, and since when: what the rule urgent-late puts together."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

import sqlalchemy as sa

from node.ledger import Mode, schema
from node.result import Priority


class Lack(Enum):
    """What somebody does not have of an urgent study."""

    RESULTS = auto()
    CONFIRMATION = auto()
    """It took the results, and has not said that it keeps them."""
    LEVEL = auto()
    """It has not acknowledged the message that says it."""
    MESSAGE = auto()
    """There is none that says it."""
    TAKE_BACK = auto()
    """It has not acknowledged that the level holds no more, or was told of somebody else."""


@dataclass(frozen=True, slots=True)
class Late:
    """A study that is late for somebody."""

    study_uid: str
    since: float
    """From when on its time counts; epoch seconds, UTC, by the database's clock."""
    lack: Lack
    is_given_up: bool = False
    error: str = ""


def is_awaited() -> sa.ColumnElement[bool]:
    """Return that a study is neither read nor held."""
    return schema.study.c.read_at.is_(None) & schema.study.c.held_reason.is_(None)


def first_found_at() -> sa.ScalarSelect[float]:
    """Return when the first model that delivers found a version urgent; NULL if none has."""
    analysis, version = schema.analysis, schema.study_version
    first = sa.select(sa.func.min(analysis.c.finished_at)).where(
        analysis.c.study_uid == version.c.study_uid,
        analysis.c.number == version.c.number,
        analysis.c.mode == Mode.DELIVER,
        analysis.c.level == Priority.URGENT,
    )
    return first.scalar_subquery()


def released_at(db: sa.Connection, study_uid: str) -> float:
    """Return when a study was released last, for held its time does not count; 0 if never."""
    table = schema.history
    query = sa.select(sa.func.max(table.c.at)).where(
        table.c.study_uid == study_uid, table.c.event.like("released: %")
    )
    found: float | None = db.execute(query).scalar_one()
    return found or 0.0
