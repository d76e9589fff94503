"""Objects that wait at the same moment share one commit, and none hears of another's trouble."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from ledgers import RECEIVING, Desk, is_mammogram
from retained import small_object

from node.current import Current
from node.ledger import Ledger, Nodes, OutcomeUnknown, Receiving, schema
from node.receive.reception import Reception
from node.store import Store

from .doors import until

STUDIES = ("1.2.826.1", "1.2.826.2", "1.2.826.1", "1.2.826.3", "1.2.826.2")
"""Of objects that come at once."""


class Crowd:
    """Senders who all bring an object while that of the first is being recorded."""

    def __init__(self, ledger: Ledger, store: Store, reception: Reception) -> None:
        self.desk = Desk(ledger, store)
        self.reception = reception
        self._store = store
        self._came = reception.begin("modality")
        self._is_held, self._go_on = threading.Event(), threading.Event()
        self.commits = 0
        self.on_insert: Callable[[str], None] = lambda said: None
        """Told of each row of an object that is about to be written, once the first one is."""
        sa.event.listen(ledger._engine, "before_cursor_execute", self._look)
        sa.event.listen(ledger._engine, "commit", self._count)

    def brings(self, sop_uid: str, study: str) -> Future[str]:
        """Let a sender bring an object."""
        path = self._store.incoming / f"{threading.get_ident()}-{os.urandom(4).hex()}.part"
        small_object(study, sop_uid).save_as(path, enforce_file_format=True)
        return self._pool.submit(lambda: self.reception.keep(path, self._came))

    def bring(self, uids: Sequence[tuple[str, str]]) -> list[Any]:
        """Let them all bring theirs; return what each is told, an error or a word."""
        with ThreadPoolExecutor(len(uids) + 1) as self._pool:
            first = self.brings("1.2.826.9.1", "1.2.826.9")
            assert self._is_held.wait(60)
            others = [self.brings(sop_uid, study) for sop_uid, study in uids]
            assert until(lambda: len(self.reception._together._waiting) == len(uids))
            self.commits = 0
            self._go_on.set()
            assert first.result(60) == "new"
            return [other.exception(60) or other.result() for other in others]

    def brings_alone(self, sop_uid: str, study: str) -> str:
        """Let a sender bring an object when nobody else does; return what it is told."""
        with ThreadPoolExecutor(1) as self._pool:
            return self.brings(sop_uid, study).result(60)

    def files(self) -> list[Path]:
        """Return what lies in the store, but for the object of the first."""
        received = self._store.path("received").rglob("*.dcm")
        return sorted(path for path in received if path.parent.name != "1.2.826.9")

    def rows(self) -> list[str]:
        """Return the UIDs of which there are rows, but for the object of the first."""
        rows = self.desk.rows(schema.instance)
        return sorted(row["sop_uid"] for row in rows if row["study_uid"] != "1.2.826.9")

    def _look(self, db: sa.Connection, cursor: object, statement: str, said: Any, *_: Any) -> None:
        if not statement.startswith("INSERT INTO instance"):
            return
        if not self._is_held.is_set():
            self._is_held.set()
            assert self._go_on.wait(60)
        else:
            self.on_insert(repr(said))

    def _count(self, db: sa.Connection) -> None:
        self.commits += bool(db.get_execution_options().get("is_write"))


@pytest.fixture
def crowd(ledger: Ledger, store: Store) -> Iterator[Crowd]:
    Nodes(ledger).register_node(store.node_id)
    current = Current(RECEIVING)
    with closing(Reception(current, store, Receiving(ledger), is_mammogram)) as reception:
        yield Crowd(ledger, store, reception)


def objects(studies: Sequence[str] = STUDIES) -> list[tuple[str, str]]:
    """Return UIDs of objects of these studies."""
    return [(f"{study}.{number}", study) for number, study in enumerate(studies)]


def test_objects_that_wait_at_the_same_moment_share_one_commit(crowd: Crowd) -> None:
    assert crowd.bring(objects()) == ["new"] * 5
    assert crowd.commits == 2  # the first one's, and theirs
    assert crowd.rows() == sorted(sop_uid for sop_uid, _ in objects())
    assert len(crowd.files()) == 5


def test_and_one_sync_of_each_folder_between_their_files_and_their_commit(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def watched_fsync(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        events.append(path.name if path.is_dir() else "bytes")
        fsync(descriptor)

    def watched_replace(path: Path, target: Path) -> Path:
        events.append("name")
        return replace(path, target)

    def watched_commit(db: sa.Connection) -> None:
        if db.get_execution_options().get("is_write"):
            events.append("commit")

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(Path, "replace", watched_replace)
    sa.event.listen(crowd.desk.ledger._engine, "commit", watched_commit)
    crowd.bring(objects())
    *_, begun, whole = [at for at, event in enumerate(events) if event == "commit"]
    placed, synced = events[:begun], events[begun + 1 : whole]
    assert placed.count("bytes") == placed.count("name") == 6
    assert sorted(synced) == sorted([*set(STUDIES), *["received"] * 3])
    assert events[whole + 1 :] == []


def test_where_nobody_knows_whether_they_are_recorded_none_is_acknowledged_and_all_files_stay(
    crowd: Crowd,
) -> None:
    def break_at_the_second(db: sa.Connection) -> None:
        if db.get_execution_options().get("is_write") and crowd.commits == 2:
            raise sa.exc.OperationalError("COMMIT", None, OSError("connection reset"))

    sa.event.listen(crowd.desk.ledger._engine, "commit", break_at_the_second)
    assert [type(told) for told in crowd.bring(objects())] == [OutcomeUnknown] * 5
    assert crowd.rows() == []
    assert len(crowd.files()) == 5


def test_where_they_surely_are_not_none_is_acknowledged_and_no_file_stays(crowd: Crowd) -> None:
    def away(_: str) -> None:
        raise sa.exc.OperationalError("INSERT", None, OSError("the database is away"))

    crowd.on_insert = away
    told = crowd.bring(objects())
    assert [type(one) for one in told] == [sa.exc.OperationalError] * 5
    assert crowd.rows() == []
    assert crowd.files() == []


def test_an_object_that_cannot_be_recorded_makes_no_other_fail(crowd: Crowd) -> None:
    bad, _ = objects()[1]

    def refuse(said: str) -> None:
        if f"'{bad}'" in said:
            raise KeyError("nobody thought of this")

    crowd.on_insert = refuse
    told = crowd.bring(objects())
    assert [type(one) for one in told] == [str, KeyError, str, str, str]
    assert bad not in crowd.rows()
    assert len(crowd.rows()) == len(crowd.files()) == 4


def test_a_folder_that_cannot_be_made_sure_of_makes_no_object_of_another_fail(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync

    def broken_for_one(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink().name == STUDIES[0]:
            raise OSError(errno.EIO, "Input/output error")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", broken_for_one)
    told = crowd.bring(objects())
    assert [type(one) for one in told] == [OSError, str, OSError, str, str]
    assert len(crowd.rows()) == len(crowd.files()) == 3


def test_where_whoever_works_for_all_fails_by_a_defect_none_is_acknowledged(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says nothing of them, and nobody may take that for leave to record what is not sure."""
    fsync = os.fsync

    def broken_for_one(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink().name == STUDIES[0]:
            raise MemoryError
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", broken_for_one)
    assert [type(told) for told in crowd.bring(objects())] == [MemoryError] * 5
    assert crowd.rows() == []
    assert crowd.files() == []
    monkeypatch.undo()
    assert crowd.brings_alone(*objects()[0]) == "new"


def test_the_same_object_of_two_senders_at_once_is_kept_once(crowd: Crowd) -> None:
    (one, *_) = objects()
    assert sorted(crowd.bring([one, one])) == ["new", "same"]
    assert crowd.rows() == [one[0]]
    assert len(crowd.files()) == 1


def test_whoever_waits_longest_works_next_for_those_who_came_meanwhile(crowd: Crowd) -> None:
    """More than are recorded at once: nobody is left waiting."""
    many = objects([f"1.2.826.{number % 7 + 20}" for number in range(80)])
    assert crowd.bring(many) == ["new"] * 80
    assert crowd.commits == 3
    assert not crowd.reception._together._is_led
