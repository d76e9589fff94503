"""`ai-node backup` is killed at each step: the last whole backup can be restored, and the next is.

Without a node: what one does meanwhile is in `tests/keeping/test_restored.py`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import factories
import pytest
import sqlalchemy as sa
from ledgers import Desk

from node.ledger import Ledger, Snapshot, now, schema
from node.store import Store, dataset_digest

from .killing import Fate, Point, When, killed_words, run_mortal

pytestmark = [pytest.mark.interop, pytest.mark.timeout(1800)]

_BACKUP, _FOLDER = "node.keeping.backup:", "node.keeping.backup_folder:"
_AROUND: tuple[When, ...] = ("before", "after")


def _around(name: str, target: str, nth: int = 1) -> list[Point]:
    return [Point("back up", name, when, target, nth, is_of_study=False) for when in _AROUND]


def _write(name: str, target: str, nth: int = 1) -> list[Point]:
    inside = Point("back up", name, "inside", f"node.ledger:{target}", nth, is_of_study=False)
    return [*_around(name, f"node.ledger:{target}", nth), inside]


POINTS = (
    *_write("no file goes any more", "BackingUp.begin"),
    *_around("the snapshot", "node.ledger:BackingUp.snapshot"),
    *_around("the settings are there", f"{_BACKUP}put_settings"),
    *_around("a file has its name", "pathlib:Path.replace", 4),
    *_around("the files are there", f"{_BACKUP}put_all", 2),
    *_around("it says what it is", f"{_BACKUP}_write_about"),
    *_around("it is called whole", "pathlib:Path.rename"),
    *_write("the ledger has it as whole", "BackingUp.end"),
    *_around("the former one is called old", "pathlib:Path.rename", 2),
    *_around("the former one goes", "shutil:rmtree"),
    *_around("a file goes that only the former one had", f"{_BACKUP}remove_file"),
)
IS_WHOLE = os.environ.get("KILL_MATRIX") == "all"
"""Else at each point on one of both databases: on PostgreSQL around what is asked of it."""


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "SQLite":
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    made: str = request.getfixturevalue("postgresql").new_database()
    return made


@pytest.fixture
def points(url: str) -> tuple[Point, ...]:
    if IS_WHOLE:
        return POINTS
    is_of_database = url.startswith("postgresql")
    return tuple(point for point in POINTS if point.is_write == is_of_database)


@pytest.fixture
def desk(url: str, tmp_path: Path) -> Iterator[Desk]:
    store = Store(tmp_path / "store")
    store.prepare()
    ledger = Ledger(url)
    ledger.migrate()
    yield Desk(ledger, store)
    ledger.close()


def settings(url: str, tmp_path: Path) -> Path:
    path = tmp_path / "node.toml"
    own = f'ae_title = "AINODE"\nstate_dir = "{tmp_path / "state"}"\nstore_dir = "store"'
    path.write_text(f'[node]\n{own}\ndatabase = "{url}"\n', "utf-8")
    return path


def go_on(desk: Desk, number: int) -> set[str]:
    """Receive an exam, and let one image of all that is there be removed; return what is there."""
    for dataset in factories.exam(f"exam {number}"):
        desk.keep(dataset)
    table = schema.instance
    with desk.ledger.writing() as db:
        there = sa.select(table.c.sop_uid).where(table.c.removed_at.is_(None))
        first = db.execute(there.order_by(table.c.received_at).limit(1)).scalar_one()
        db.execute(table.update().where(table.c.sop_uid == first).values(removed_at=now()))
        return set(db.execute(there).scalars())


def restorable(to: Path, tmp_path: Path) -> set[str]:
    """Return what the newest whole backup has; all its files are there, as they came."""
    newest = max(to.glob("whole-*"))
    copy = tmp_path / "restored.db"
    shutil.copy(newest / "ledger.db", copy)
    for file in Snapshot(copy).files():
        assert dataset_digest(to / "store" / file.path) == file.digest
    with contextlib.closing(Ledger(f"sqlite:///{copy}")) as ledger, ledger.reading() as db:
        table = schema.instance
        there = sa.select(table.c.sop_uid).where(table.c.removed_at.is_(None))
        return set(db.execute(there).scalars())


def test_wherever_it_is_killed_the_last_whole_one_can_be_restored_and_the_next_is_made(
    desk: Desk, url: str, points: tuple[Point, ...], tmp_path: Path
) -> None:
    to, log = tmp_path / "backup", tmp_path / "log"
    command = ["backup", str(to), "--config", str(settings(url, tmp_path))]
    before = go_on(desk, 0)
    assert run_mortal(command, tmp_path, log) == 0, log.read_text("utf-8")
    for number, point in enumerate(points, start=1):
        after = go_on(desk, number)
        status = run_mortal(command, tmp_path, log, Fate(point, ()))
        assert status == -signal.SIGKILL, (point, status, log.read_text("utf-8")[-2000:])
        assert killed_words(point) in log.read_text("utf-8")
        assert restorable(to, tmp_path) in (before, after), point
        after = go_on(desk, -number)
        assert run_mortal(command, tmp_path, log) == 0, log.read_text("utf-8")[-2000:]
        assert restorable(to, tmp_path) == after, point
        names = {path.name.partition("-")[0] for path in to.iterdir()}
        assert names == {"lock", "owner.json", "store", "whole"}
        there = {path.name for path in (to / "store").rglob("*.dcm")}
        assert len(there) == len(after), point
        before = after
