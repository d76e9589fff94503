"""Transactions: nothing is lost between two that write at once, and what is committed stays."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import sqlalchemy as sa
from ledgers import STUDY, Desk, run_at_once
from locks import impatient, locked
from postgres import NewDatabase, PostgreSQL

from node.ledger import Ledger, Nodes, after_commit, is_trouble, schema
from node.ledger.fixed import Fixed, execute, fetch
from node.store import Store


def test_two_processes_that_count_up_at_once_lose_nothing(
    new_database: NewDatabase, tmp_path: Path
) -> None:
    url = new_database(tmp_path)
    ledgers = [Ledger(url), Ledger(url)]
    Nodes(ledgers[0]).register_node("counter")
    table, rounds = schema.node, 15
    with ledgers[0].writing() as db:
        db.execute(table.update().values(beat_at=0))

    def count_once(ledger: Ledger) -> bool:
        try:
            with ledger.writing() as db:
                query = sa.select(table.c.beat_at).with_for_update()
                before = db.execute(query).scalar_one()
                time.sleep(0.003)  # the other one would read the same number here
                db.execute(table.update().values(beat_at=before + 1))
        except sa.exc.OperationalError as error:
            if not is_trouble(error):
                raise
            return False  # SQLite has no queue of those who wait: it gives up on the unlucky
        return True

    def count_up(ledger: Ledger) -> None:
        for _ in range(rounds):
            while not count_once(ledger):
                pass

    run_at_once(*(lambda ledger=ledger: count_up(ledger) for ledger in ledgers))
    with ledgers[0].reading() as db:
        assert db.execute(sa.select(table.c.beat_at)).scalar_one() == 2 * rounds
    for ledger in ledgers:
        ledger.close()


def test_what_is_to_be_done_after_a_commit_is_done_then_and_else_not(desk: Desk) -> None:
    def look() -> None:
        with desk.ledger.reading() as other:
            seen.append(other.execute(sa.select(schema.study.c.sender)).scalar_one())

    seen: list[str] = []
    desk.receive()
    with desk.ledger.writing() as db:
        after_commit(db, look)
        db.execute(schema.study.update().values(sender="another"))
        assert seen == []
    assert seen == ["another"]
    with pytest.raises(ZeroDivisionError), desk.ledger.writing() as db:
        after_commit(db, look)
        raise ZeroDivisionError
    with desk.ledger.writing():
        pass  # over the same connection
    assert seen == ["another"]


def test_a_reader_does_not_wait_for_a_writer(desk: Desk) -> None:
    desk.receive()
    with desk.ledger.writing() as db:
        db.execute(schema.study.update().values(sender="another"))
        with desk.ledger.reading() as other:
            assert other.execute(sa.select(schema.study.c.sender)).scalar_one() == "modality"


def test_a_locked_database_is_in_trouble_and_one_that_is_asked_nonsense_is_not(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.receive()
    impatient(desk.ledger, monkeypatch)
    with pytest.raises(sa.exc.OperationalError) as refused, locked(desk.ledger):
        desk.receive(f"{STUDY}.2")
    assert is_trouble(refused.value)
    with pytest.raises(sa.exc.DBAPIError) as nonsense, desk.ledger.writing() as db:
        db.execute(sa.text("SELECT nothing FROM nowhere"))
    assert not is_trouble(nonsense.value)
    with pytest.raises(sa.exc.IntegrityError) as twice, desk.ledger.writing() as db:
        for _ in range(2):
            db.execute(schema.installation.insert().values(id="twice", created_at=0))
    assert not is_trouble(twice.value)
    assert desk.receive(f"{STUDY}.2") == "new"


def test_what_the_driver_is_asked_itself_is_refused_in_the_same_words(desk: Desk) -> None:
    with pytest.raises(sa.exc.DBAPIError) as usual, desk.ledger.writing() as db:
        db.exec_driver_sql("SELECT one FROM nowhere")
    with pytest.raises(sa.exc.DBAPIError) as refused, desk.ledger.writing() as db:
        execute(db, "SELECT one FROM nowhere")
    assert type(refused.value) is type(usual.value)
    assert str(refused.value) == str(usual.value)
    assert "nowhere" in str(refused.value)
    assert not is_trouble(refused.value)
    assert desk.receive() == "new"


def test_what_fails_only_while_rows_are_fetched_is_an_error_of_the_database_too(
    desk: Desk,
) -> None:
    """SQLite has found a row by then, and may find its disk broken at the next one."""
    least = (
        "SELECT state, 0 AS n FROM study UNION ALL SELECT state, -9223372036854775807 FROM study"
    )
    words = f"SELECT abs(n - 1) FROM ({least}) AS found"  # of the second one that is too much
    refused = pytest.raises(sa.exc.DBAPIError, match=r"overflow|out of range")
    desk.receive()
    with refused, desk.ledger.writing() as db:
        fetch(db, words)
    with refused, desk.ledger.asking() as db:
        Fixed(lambda _: sa.text(words)).rows(db)
    assert desk.receive(f"{STUDY}.2") == "new"


@pytest.mark.parametrize("new_database", ["sqlite"], indirect=True)
def test_who_asks_next_does_so_over_the_connection_that_wrote_last(desk: Desk) -> None:
    """SQLite reads everything anew over a connection by which another has not seen it change."""
    with desk.ledger.reading(), desk.ledger.reading(), desk.ledger.reading():
        pass  # three are open
    for _ in range(3):
        with desk.ledger.writing() as db:
            last = db.connection.driver_connection
        with desk.ledger.asking() as db:
            assert db.connection.driver_connection is last


@pytest.mark.parametrize("new_database", ["sqlite"], indirect=True)
def test_what_was_committed_is_on_disk(desk: Desk) -> None:
    with desk.ledger.writing() as db:
        assert db.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"
        assert db.exec_driver_sql("PRAGMA synchronous").scalar_one() == 2  # FULL
        assert db.exec_driver_sql("PRAGMA busy_timeout").scalar_one() == 5000


@pytest.mark.interop
def test_what_was_committed_is_on_the_disk_of_a_server_that_is_set_to_be_careless(
    postgresql: PostgreSQL,
) -> None:
    url = postgresql.new_database()
    careless = Ledger(f"{url}?options=-c%20synchronous_commit%3Doff")
    with careless.writing() as db:
        assert db.exec_driver_sql("SHOW synchronous_commit").scalar_one() == "on"
    careless.close()
    replicated = Ledger(f"{url}?options=-c%20synchronous_commit%3Dremote_apply")
    with replicated.writing() as db:
        assert db.exec_driver_sql("SHOW synchronous_commit").scalar_one() == "remote_apply"
    replicated.close()


@pytest.mark.interop
def test_whoever_finds_a_study_locked_gives_up_before_its_sender_does(
    postgresql: PostgreSQL, store: Store
) -> None:
    url = postgresql.new_database()
    ledger, frozen = Ledger(url), Ledger(url)
    desk = Desk(ledger, store)
    desk.receive()
    with frozen.writing() as db:
        db.execute(sa.select(schema.study).with_for_update())
        begun = time.monotonic()
        with pytest.raises(sa.exc.OperationalError, match="lock timeout"):
            desk.receive(f"{STUDY}.2")
        assert 4 < time.monotonic() - begun < 8
    assert desk.receive(f"{STUDY}.2") == "new"
    ledger.close()
    frozen.close()


@pytest.mark.interop
def test_two_who_need_each_others_study_do_not_wait_for_ever(
    postgresql: PostgreSQL, store: Store
) -> None:
    """An image of one study comes in the other, and the other way round: each locks both."""
    url = postgresql.new_database()
    ledger, other = Ledger(url), Ledger(url)
    desk = Desk(ledger, store)
    desk.receive("1.1.1", study="1.1")
    desk.receive("1.2.1", study="1.2")
    told: list[str] = []

    def come() -> None:
        try:
            told.append(desk.receive("1.2.1", study="1.1", digest="other"))
        except sa.exc.OperationalError as error:  # which the sender hears as 0xA700
            told.append(str(error))

    def cross(db: sa.Connection) -> None:
        while not _is_waiting(ledger):
            time.sleep(0.01)
        try:
            _lock(db, "1.1")
        except sa.exc.OperationalError as error:
            told.append(str(error))
            db.rollback()

    with other.writing() as db:
        _lock(db, "1.2")
        run_at_once(come, lambda: cross(db))
    assert [words for words in told if "deadlock detected" in words], told
    assert desk.receive("1.2.1", study="1.1", digest="other") == "contradicts"
    assert all(desk.study(study)["held_reason"] for study in ("1.1", "1.2"))
    ledger.close()
    other.close()


def _lock(db: sa.Connection, study_uid: str) -> None:
    query = sa.select(schema.study).where(schema.study.c.study_uid == study_uid)
    db.execute(query.with_for_update())


def _is_waiting(ledger: Ledger) -> bool:
    with ledger.reading() as db:
        return bool(
            db.exec_driver_sql("SELECT count(*) FROM pg_locks WHERE NOT granted").scalar_one()
        )


@pytest.mark.interop
def test_whose_transaction_was_ended_while_it_was_frozen_hears_that_the_database_was_away(
    postgresql: PostgreSQL,
) -> None:
    ledger = Ledger(postgresql.new_database())
    with (
        pytest.raises(sa.exc.OperationalError, match="idle-in-transaction"),
        ledger.reading() as db,
    ):
        db.execute(sa.text("SET LOCAL idle_in_transaction_session_timeout = '50ms'"))
        time.sleep(0.5)
        db.execute(sa.select(1))
    assert ledger.installation  # on another connection
    ledger.close()


def test_the_clock_is_the_databases_and_counts_seconds(desk: Desk) -> None:
    before = time.time()
    desk.receive()
    received_at = desk.study()["last_at"]
    assert before - 0.01 <= received_at <= time.time() + 0.01
