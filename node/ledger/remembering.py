"""What stays of a study whose rows are gone, and how they are made again of it.

One row, small and for ever: UIDs, digests, what was sent where and when. Nobody's name, ID or
accession number: of whose the study is only the digests stay that every object of it has to agree
with. It is made into rows again, `recall`, in the transaction that something of the study comes
in, so that nothing else has to know of studies that are forgotten: the same again is the same,
other pixels contradict, and what follows is a version after those there were, never a first one.
"""

from __future__ import annotations

import json
import logging
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from node.errors import NodeError
from node.ledger import schema
from node.ledger.clock import now, utc
from node.ledger.database import Ledger
from node.ledger.rows import add_note, insert_into, update_study
from node.ledger.states import DeliveryState
from node.numbers_in_words import counted

log = logging.getLogger(__name__)

_FORMAT = 1
"""Of what is written today; what has another is not read: that of a later release."""

_LABELS = ("accession_number", "patient_id", "patient_name", "study_date", "study_description")

REMEMBERED: Mapping[sa.Table, Mapping[str, Any]] = {
    # What people know it by; "" and not NULL, which would have it looked up in its files.
    schema.study: dict.fromkeys(_LABELS, "") | dict.fromkeys(("read_by", "recalled_at")),
    schema.instance: {},
    schema.former_instance: {},
    schema.damaged_object: {},
    schema.rejection: {},
    schema.study_version: {"owner": None},
    schema.analysis: dict.fromkeys(("result", "priority", "brief", "score", "refusals")),
    schema.report: {},
    # The words of others may name somebody.
    schema.dispatch: {"owner": None, "error": None},
    schema.delivery: {"error": None, "transaction_uid": None},
    # That there was one, for the next to be counted and named after it; not what it said.
    schema.message: {"told": "", "content": b"", "owner": None, "error": None},
}
"""The tables whose rows of a study are made again, and of these the columns that are not as they
were, but this. A table or column that is not named is remembered whole if it is new."""


@dataclass(frozen=True, slots=True)
class RememberedStudy:
    """A study of which there are no rows any more."""

    study_uid: str
    forgotten_at: float
    sent: Mapping[str, int]
    """How many result objects each destination has, by its name."""

    @property
    def words(self) -> str:
        """What there is to tell of it, without patient data."""
        sent = [
            f"{counted(number, 'report was', 'reports were')} sent to {name}"
            for name, number in sorted(self.sent.items())
        ]
        return f"forgotten on {utc(self.forgotten_at):%Y-%m-%d}; {', '.join(sent) or _NOTHING}"


_NOTHING = "no report of it was sent"


@dataclass(frozen=True, slots=True)
class Remembering:
    """What is still known of studies that are forgotten."""

    ledger: Ledger

    def find(self, study_uid: str) -> RememberedStudy | None:
        """Return a study that is forgotten, None if it is not, or nothing is remembered of it."""
        with self.ledger.reading() as db:
            return find_remembered(db, study_uid)

    def recall(self, study_uid: str) -> bool:
        """Make the rows of a forgotten study again; return whether it was one."""
        with self.ledger.reading() as db:
            if not _is_remembered(db, study_uid):
                return False
        with self.ledger.writing() as db:
            return recall(db, study_uid)


def find_remembered(db: sa.Connection, study_uid: str) -> RememberedStudy | None:
    """Return a study that is forgotten and remembered."""
    table = schema.remembered_study
    row = db.execute(sa.select(table).where(table.c.study_uid == study_uid)).one_or_none()
    if row is None:
        return None
    has_it = (DeliveryState.SENT, DeliveryState.CONFIRMED)
    deliveries = _rows(row, schema.delivery)
    sent = Counter(one["destination"] for one in deliveries if one["state"] in has_it)
    return RememberedStudy(study_uid, row.forgotten_at, sent)


def lock_known(db: sa.Connection, study_uid: str) -> sa.Row[Any]:
    """Lock and return the row of a study that a person named; NodeError if there is none now."""
    query = sa.select(schema.study).where(schema.study.c.study_uid == study_uid)
    study = db.execute(query.with_for_update()).one_or_none()
    if study is None and (remembered := find_remembered(db, study_uid)):
        raise NodeError(f"study {study_uid} is {remembered.words}")
    if study is None:
        raise NodeError(f"study {study_uid} is not known here; `ai-node studies` lists all")
    return study


def remember(db: sa.Connection, study_uid: str) -> None:
    """Write down what stays of a study, which the caller has locked; what was there before goes."""
    table = schema.remembered_study
    of_study = {"study_uid": study_uid}
    values = {"content": _written(db, study_uid), "forgotten_at": now()}
    insert = insert_into(db, table).values(of_study | values)
    db.execute(insert.on_conflict_do_update(index_elements=["study_uid"], set_=values))


def recall(db: sa.Connection, study_uid: str) -> bool:
    """Make the rows of a forgotten study again; return whether it was one.

    To be called in the transaction in which something of it comes: what has come since under a
    UID of it, in another study, stays as it is.
    """
    table = schema.remembered_study
    is_it = table.c.study_uid == study_uid
    row = db.execute(sa.select(table).where(is_it).with_for_update()).one_or_none()
    if row is None:
        return False
    for kind in REMEMBERED:
        if rows := list(_rows(row, kind)):
            db.execute(insert_into(db, kind).on_conflict_do_nothing(), rows)
    db.execute(update_study(study_uid).values(recalled_at=now()))
    db.execute(table.delete().where(is_it))
    day = f"{utc(row.forgotten_at):%Y-%m-%d}"
    add_note(db, study_uid, f"recalled, for something of it came: it was forgotten on {day}")
    words = "Study %s is recalled, for something of it came: it was forgotten on %s"
    log.info(words, study_uid, day, extra={"study": study_uid})
    return True


def rename_remembered(
    db: sa.Connection,
    columns: Mapping[sa.Table, Iterable[str]],
    names: tuple[str, str],
    *,
    after: str,
    at_most: int,
) -> tuple[str, int] | None:
    """Let a portion of what is remembered say the second name for the first, in these columns.

    Returns the study that it ends with, after which the next portion begins, and of how many
    studies it was said; None if there is none left.
    """
    former, new = names
    table, count = schema.remembered_study, 0
    query = sa.select(table).where(table.c.study_uid > after)
    rows = db.execute(query.order_by(table.c.study_uid).limit(at_most).with_for_update()).all()
    for row in rows:
        text = zlib.decompress(row.content).decode()
        if json.dumps(former) not in text:  # which costs a hundredth of writing it anew
            continue
        content = _read(row)
        if _rename_in(content["tables"], columns, former, new):
            values = {"content": _packed(content)}
            db.execute(table.update().where(table.c.study_uid == row.study_uid).values(values))
            count += 1
    return (rows[-1].study_uid, count) if rows else None


def _rename_in(
    tables: dict[str, dict[str, list[Any]]],
    columns: Mapping[sa.Table, Iterable[str]],
    former: str,
    new: str,
) -> bool:
    found = False
    for table, of_table in columns.items():
        said = tables.get(table.name, {})
        for name in of_table:
            if former in said.get(name, ()):
                said[name] = [new if value == former else value for value in said[name]]
                found = True
    return found


def rows_of(table: sa.Table, study_uid: str) -> sa.ColumnElement[bool]:
    """Return which rows of a table are a study's."""
    if table is schema.former_instance:  # knows its study by its UID alone
        instance = schema.instance
        mine = sa.select(instance.c.sop_uid).where(instance.c.study_uid == study_uid)
        return table.c.sop_uid.in_(mine)
    return table.c.study_uid == study_uid


def _is_remembered(db: sa.Connection, study_uid: str) -> bool:
    table = schema.remembered_study
    query = sa.select(table.c.study_uid).where(table.c.study_uid == study_uid)
    return db.execute(query).first() is not None


def _written(db: sa.Connection, study_uid: str) -> bytes:
    """Return the rows of a study, column by column: what is alike lies together, and packs well."""
    tables: dict[str, dict[str, list[Any]]] = {}
    for table in REMEMBERED:
        query = sa.select(*_kept(table)).where(rows_of(table, study_uid))
        rows = db.execute(query.order_by(*table.primary_key)).all()
        columns = zip(_kept(table), zip(*rows, strict=True), strict=False)  # without rows: none
        said = {column.name: list(values) for column, values in columns if _is_any_said(values)}
        if said:
            tables[table.name] = said
    return _packed({"format": _FORMAT, "tables": tables})


def _packed(content: Mapping[str, Any]) -> bytes:
    text = json.dumps(content, separators=(",", ":"), default=str)
    return zlib.compress(text.encode(), 9)


def _read(row: sa.Row[Any]) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(zlib.decompress(row.content))
    if content["format"] != _FORMAT:
        raise NodeError(
            f"study {row.study_uid} was forgotten by a later release, whose record of it this one "
            "cannot read; use that release again"
        )
    return content


def _kept(table: sa.Table) -> list[sa.Column[Any]]:
    """Return the columns of which the values are written down; those that are NULL are not."""
    return [one for one in table.c if one.key not in REMEMBERED[table] and one.key != "study_uid"]


def _is_any_said(values: tuple[Any, ...]) -> bool:
    return any(value is not None for value in values)


def _rows(row: sa.Row[Any], table: sa.Table) -> Iterator[dict[str, Any]]:
    """Yield the rows of a table as they are made again; a column that is gone by now is left out.

    A column that has come since has the value that the database gives it.
    """
    said = _read(row)["tables"].get(table.name, {})
    columns = [(column.key, said[column.name]) for column in _kept(table) if column.name in said]
    same = dict(REMEMBERED[table])
    if "study_uid" in table.c:
        same["study_uid"] = row.study_uid
    for values in zip(*(values for _, values in columns), strict=True):
        yield same | dict(zip((key for key, _ in columns), values, strict=True))
