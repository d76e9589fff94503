"""A copy of a ledger is the same ledger, whatever is in it and wherever it was broken off."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from ledgers import Desk, fill, rows_of
from postgres import NewDatabase, PostgreSQL

from node.errors import NodeError
from node.ledger import Ledger, copying, schema
from node.ledger.copying import copy_ledger, end_copy, steps_of_copy
from node.ledger.moving import why_no_node_may_run
from node.result import Priority
from node.store import Store

Row = dict[str, Any]


def no_advance(rows: int) -> None:
    """Nobody is told."""


def copy(source: Ledger, target: Ledger, advance: Callable[[int], object] = no_advance) -> None:
    with source.reading() as db:
        copy_ledger(db, target, advance, name="the first one")
    end_copy(target)


def opened(url: str) -> Ledger:
    """Open a ledger that is of an installation of its own: those of the tests are copies."""
    ledger = Ledger(url)
    with ledger.writing() as db:
        db.execute(schema.installation.update().values(id=str(uuid.uuid4())))
    return ledger


_TEXT = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12
) | st.sampled_from(["", "Müller^Jürgen", "山田^太郎", "'; DROP TABLE study; --", "a\nb\\"])


def _values(column: sa.Column[Any]) -> st.SearchStrategy[Any]:
    kind = column.type
    words = getattr(kind, "words", Priority if isinstance(kind, sa.types.TypeDecorator) else None)
    made: st.SearchStrategy[Any]
    if words is not None:
        made = st.sampled_from(list(words))
    elif isinstance(kind, sa.LargeBinary):
        made = st.binary(max_size=20)
    elif isinstance(kind, sa.Boolean):
        made = st.booleans()
    elif isinstance(kind, sa.BigInteger):
        made = st.integers(0, 2**63 - 1)
    elif isinstance(kind, sa.Integer):
        made = st.integers(-(2**31), 2**31 - 1)
    elif isinstance(kind, sa.Double):
        made = st.floats(allow_nan=False) | st.sampled_from([-0.0, 0.1, 1764460800.123456])
    else:
        made = _TEXT
    return st.none() | made if column.nullable else made


_UNIQUE = frozenset({("message", "sequence"), ("alarm", "rule")})


@st.composite
def _rows(draw: st.DrawFn) -> dict[str, list[Row]]:
    """Return some rows of every table, with all kinds of value."""
    found = {}
    for table in schema.metadata.sorted_tables:
        if table is schema.installation:
            continue
        of_row = st.fixed_dictionaries({one.key: _values(one) for one in table.columns})
        found[table.name] = rows = draw(st.lists(of_row, max_size=3))
        for number, row in enumerate(rows):
            for column in table.columns:
                if column.primary_key or (table.name, column.name) in _UNIQUE:
                    is_text = isinstance(column.type, sa.Text)
                    row[column.key] = f"{row[column.key]}{number}" if is_text else number + 1
    return found


def insert(ledger: Ledger, rows: dict[str, list[Row]]) -> None:
    with ledger.writing() as db:
        for name, of_table in rows.items():
            if of_table:
                db.execute(schema.metadata.tables[name].insert(), of_table)


@settings(max_examples=examples(40))
@given(rows=_rows())
def test_what_is_copied_there_and_back_is_what_it_was(
    rows: dict[str, list[Row]], new_database: NewDatabase, new_file: NewDatabase
) -> None:
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        patch.setattr(copying, "ROWS_AT_ONCE", 2)
        ledgers = []
        for make in (new_file, new_database, new_file):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            ledgers.append(stack.enter_context(closing(opened(make(folder)))))
        first, there, back = ledgers
        insert(first, rows)
        copy(first, there)
        copy(there, back)
        assert there.installation == back.installation == first.installation
        assert rows_of(back) == rows_of(there) == rows_of(first)


@pytest.fixture
def source(new_file: NewDatabase, tmp_path: Path) -> Iterator[Ledger]:
    """A ledger of some studies, one row of which a former release wrote."""
    (tmp_path / "source").mkdir()
    with closing(opened(new_file(tmp_path / "source"))) as made:
        fill(made, 3)
        with made.writing() as db:
            db.execute(sa.text("UPDATE instance SET state = 'rejected' WHERE sop_uid = '1.9.0.1'"))
        yield made


@pytest.fixture
def small_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "ROWS_AT_ONCE", 2)


class BrokenOffError(Exception):
    """As kill -9 does, but for the process."""


def broken_off_after(steps: int) -> Callable[[int], None]:
    left = steps

    def advance(rows: int) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise BrokenOffError

    return advance


@pytest.mark.usefixtures("small_portions")
def test_a_copy_that_was_broken_off_anywhere_goes_on_and_is_whole(
    source: Ledger, ledger: Ledger
) -> None:
    wanted = rows_of(source)
    steps = 0
    while True:
        try:
            copy(source, ledger, broken_off_after(steps))
        except BrokenOffError:
            with ledger.reading() as db:
                assert "a copy of the first one" in why_no_node_may_run(db) or steps == 0
            steps += 7
        else:
            break
    assert steps > 28
    assert rows_of(ledger) == wanted
    with ledger.reading() as db:
        assert why_no_node_may_run(db) == ""


@pytest.mark.usefixtures("small_portions")
def test_what_changed_since_a_copy_was_broken_off_is_copied_anew(
    source: Ledger, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BrokenOffError):
        copy(source, ledger, broken_off_after(40))
    with source.writing() as db:  # as a node does that somebody has started again
        db.execute(schema.study.update().values(sender="another"))
        db.execute(schema.delivery.delete().where(schema.delivery.c.study_uid == "1.9.0"))
        db.execute(schema.history.insert().values(at=1.0, study_uid="1.9.0", event="later"))
    wanted = rows_of(source)
    anew: list[str] = []
    clear = copying._clear

    def noted(db: sa.Connection, table: sa.Table) -> None:
        anew.append(table.name)
        clear(db, table)

    monkeypatch.setattr(copying, "_clear", noted)
    broken_off_anew = 0
    for steps in range(40, 400, 3):
        anew.clear()
        try:
            copy(source, ledger, broken_off_after(steps))
            break
        except BrokenOffError:
            broken_off_anew += bool(anew)
    assert rows_of(ledger) == wanted
    assert broken_off_anew >= 2, "in the midst of what is copied anew, too"


def test_a_copy_tells_how_far_it_is(source: Ledger, ledger: Ledger) -> None:
    told: list[int] = []
    with source.reading() as db:
        steps = steps_of_copy(db)
    copy(source, ledger, told.append)
    assert sum(told) == steps > 0


def test_numbers_go_on_after_those_that_were_copied(source: Ledger, ledger: Ledger) -> None:
    copy(source, ledger)
    row = {"at": 1.0, "study_uid": "1.9.0", "event": "next"}
    with ledger.writing() as db:
        former = db.execute(sa.select(sa.func.max(schema.history.c.id))).scalar_one()
        made = db.execute(schema.history.insert().values(row)).inserted_primary_key
        assert made == (former + 1,)


def test_a_ledger_with_rows_of_another_installation_is_not_written_over(
    source: Ledger, ledger: Ledger
) -> None:
    fill(ledger, 1)
    before = rows_of(ledger)
    with pytest.raises(NodeError, match="the rows of another installation, which would be lost"):
        copy(source, ledger)
    assert rows_of(ledger) == before


def test_a_copy_that_is_whole_is_not_written_over(source: Ledger, ledger: Ledger) -> None:
    copy(source, ledger)
    before = rows_of(ledger)
    with pytest.raises(NodeError, match="nobody can say which is right"):
        copy(source, ledger)
    assert rows_of(ledger) == before


def test_half_a_copy_of_another_installation_is_not_written_over(
    source: Ledger, ledger: Ledger, new_file: NewDatabase, tmp_path: Path
) -> None:
    with pytest.raises(BrokenOffError):
        copy(source, ledger, broken_off_after(9))
    (tmp_path / "other").mkdir()
    with (
        closing(opened(new_file(tmp_path / "other"))) as other,
        pytest.raises(NodeError, match="a part of another ledger, that of the first one"),
    ):
        copy(other, ledger)


@pytest.mark.usefixtures("small_portions")
def test_two_that_copy_into_the_same_ledger_notice(source: Ledger, ledger: Ledger) -> None:
    hindered = 0

    def another_goes_on(rows: int) -> None:
        nonlocal hindered
        if rows == 2 and not hindered:
            hindered += 1
            with source.reading() as db:
                copy_ledger(db, ledger, no_advance, name="the first one")

    with pytest.raises(NodeError, match="another process is copying into the same ledger"):
        copy(source, ledger, another_goes_on)
    copy(source, ledger)
    assert rows_of(ledger) == rows_of(source)


def test_a_node_goes_on_with_a_copy(source: Ledger, ledger: Ledger, store: Store) -> None:
    copy(source, ledger)
    desk = Desk(ledger, store)
    assert desk.receive("1.9.0.7", study="1.9.0") == "new"


@pytest.mark.interop
def test_databases_that_order_text_otherwise_hold_the_same_rows(
    postgresql: PostgreSQL,
    source: Ledger,
    new_file: NewDatabase,
    tmp_path: Path,
    small_portions: None,
) -> None:
    with psycopg.connect(postgresql.url("postgres"), autocommit=True) as db:
        db.execute(
            "CREATE DATABASE otherwise TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US'"
        )
    names = ["a", "B", "A", "b", "ä", "Z", "z", "_", "1.10", "1.9", "É"]
    with source.writing() as db:
        db.execute(schema.peer.insert(), [{"name": name} for name in names])
    with (
        closing(Ledger(postgresql.url("otherwise"))) as there,
        closing(opened(new_file(tmp_path))) as back,
    ):
        there.migrate()
        copy(source, there)
        with there.reading() as db:
            in_order = db.execute(sa.select(schema.peer.c.name).order_by("name")).scalars().all()
        assert in_order != sorted(names)
        copy(there, back)
        assert rows_of(back) == rows_of(there) == rows_of(source)


@pytest.mark.interop
def test_text_that_postgresql_cannot_hold_is_named(postgresql: PostgreSQL, source: Ledger) -> None:
    with source.writing() as db:
        db.execute(schema.peer.insert().values(name="pacs", failure="a\0b"))
    with (
        closing(Ledger(postgresql.new_database())) as there,
        pytest.raises(NodeError, match=r"table peer: a row .* \('pacs',\) .* NUL"),
    ):
        copy(source, there)


def test_a_file_that_was_copied_is_whole_alone(
    source: Ledger, new_file: NewDatabase, tmp_path: Path
) -> None:
    with closing(Ledger(new_file(tmp_path))) as target:
        copy(source, target)
        wanted = rows_of(target)
    shutil.move(tmp_path / "ledger.db", tmp_path / "moved.db")
    with closing(Ledger(f"sqlite:///{tmp_path / 'moved.db'}")) as moved:
        assert rows_of(moved) == wanted


def test_details_of_objects_go_with_them(
    new_database: NewDatabase, new_file: NewDatabase, tmp_path: Path
) -> None:
    long = "x" * 300_000  # as of an object of many frames
    with ExitStack() as stack:
        folders = [tmp_path / name for name in ("first", "there", "back")]
        for folder in folders:
            folder.mkdir()
        first, there, back = (
            stack.enter_context(closing(opened(make(folder))))
            for make, folder in zip((new_file, new_database, new_file), folders, strict=True)
        )
        desk = Desk(first, Store(tmp_path / "store"))
        for number, details in enumerate(('[{"text":"\\u00e4"}]', "", long)):
            desk.receive(f"1.2.{number}", modality="MR", view=None, details=details)
        copy(first, there)
        copy(there, back)
        for ledger in (there, back):
            rows = Desk(ledger, desk.store).rows(schema.instance)
            found = {row["sop_uid"]: row["details"] for row in rows}
            assert found == {"1.2.0": '[{"text":"\\u00e4"}]', "1.2.1": None, "1.2.2": long}
