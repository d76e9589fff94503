"""A process is killed at every step of removing: nothing is lost, and no file is left over.

As `test_kill_matrix.py`, but the process does nothing else than one sweep.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from ledgers import Desk
from retained import DAY_S, Site, retention_on

from node.ledger import Ledger, Retaining, schema
from node.store import Store

from .killing import Fate, Point, killed_words, let_die

pytestmark = [pytest.mark.interop, pytest.mark.timeout(300)]

_REMOVE = "node.store:Store.remove_for_good"
_SAY = "node.ledger:Retaining.remove"
_GONE = "node.ledger:Unlinking.gone"
POINTS = (
    Point("remove", "the digests are made", "before", "node.flow.retention:_digest"),
    *(Point("remove", "the rows say so", when, _SAY) for when in ("before", "inside", "after")),
    *(
        Point("remove", "the next rows say so", when, _SAY, nth=2)
        for when in ("before", "inside", "after")
    ),
    *(Point("remove", "the files go", when, _REMOVE) for when in ("before", "after")),
    *(
        Point("remove", "the second file goes", when, "pathlib:Path.unlink", nth=2, within=_REMOVE)
        for when in ("before", "after")
    ),
    Point("remove", "their folder is fsynced", "after", "node.store:fsync_path", within=_REMOVE),
    *(
        Point("remove", "their folder goes", when, "node.store:remove_folder", within=_REMOVE)
        for when in ("before", "after")
    ),
    *(
        Point("remove", "they are recorded as gone", when, _GONE)
        for when in ("before", "inside", "after")
    ),
)
"""A sweep removes what no model reads, then images, then results, each in a transaction."""


def _sweep(url: str, root: str, log: str, fate: Fate) -> None:
    """Be a process that sweeps once, and dies of it."""
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    store = Store(Path(root), "mortal")
    store.prepare()
    retention = retention_on(Ledger(url), store)
    let_die(fate)
    retention.sweep()


def _die_at(point: Point, url: str, store: Store, study: str) -> None:
    log = store.root.parent / "log"
    args = (url, str(store.root), str(log), Fate(point, (study,)))
    process = multiprocessing.get_context("forkserver").Process(target=_sweep, args=args)
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL, f"it did not die {point.words}"
    assert killed_words(point) in log.read_text("utf-8")


def _files(store: Store) -> set[str]:
    trees = [store.path(tree) for tree in ("received", "reports")]
    found = (path for tree in trees for path in tree.rglob("*") if path.is_file())
    return {str(path.relative_to(store.root)) for path in found}


def _named(desk: Desk, *, is_removed: bool) -> set[str]:
    """Return the files that rows say are there, or are removed."""
    tables = (schema.instance, schema.former_instance, schema.report)
    rows = [row for table in tables for row in desk.rows(table)]
    return {row["path"] for row in rows if (row["removed_at"] is not None) == is_removed}


def _age(desk: Desk, study: str) -> None:
    table = schema.study
    with desk.ledger.writing() as db:
        is_it = table.c.study_uid == study
        old = table.c.last_at - 100 * DAY_S
        db.execute(sa.update(table).where(is_it).values(last_at=old))


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "SQLite":
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    made: str = request.getfixturevalue("postgresql").new_database(is_empty=True)
    return made


def test_wherever_it_is_killed_no_file_is_lost_and_none_is_left_over(
    url: str, store: Store
) -> None:
    ledger = Ledger(url)
    ledger.migrate()
    desk = Desk(ledger, store)
    site = Site(desk)
    owed = site.done("1.9.1000")
    with ledger.writing() as db:
        db.execute(schema.study.update().values(held_reason="a reason"))
    _age(desk, "1.9.1000")
    for number, point in enumerate(POINTS):
        study = f"1.9.2{number:03}"
        site.keep(study, 9, Modality="SR")
        site.done(study)
        _age(desk, study)
        _die_at(point, url, store, study)
        there, leaving = _files(store), {row["path"] for row in desk.rows(schema.unlinking)}
        assert _named(desk, is_removed=False) <= there, f"a file is lost: {point.words}"
        assert there <= _named(desk, is_removed=False) | leaving, f"one is left: {point.words}"
        assert leaving <= _named(desk, is_removed=True), point.words
        retention_on(ledger, store).sweep()
        retention_on(ledger, store).sweep()
        assert not desk.rows(schema.unlinking), point.words
        assert _files(store) == _named(desk, is_removed=False), point.words
        assert all(path.is_file() for path in owed)
        said = [line for line in desk.history(study) if line.startswith("removed")]
        assert len(said) == 3, point.words  # each is said once
        assert not store.path(f"received/{study}").exists(), point.words
        assert Retaining(ledger).why_owed(study) is None
        sys.stdout.write(f"{point.words}\n")
    ledger.close()
