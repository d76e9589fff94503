"""A process is killed at every step of asking images back: nothing is lost, and the study goes on.

As `test_kill_matrix.py`, but the process does nothing else than to ask once. With KILL_MATRIX=all
also before each, and on both databases.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from giving import GivingArchive
from ledgers import Desk, is_mammogram
from peers import modality
from retained import DAY_S, Site, small_object

from node import config
from node.current import Current
from node.flow.inventory import OLD_AFTER_S, Inventory
from node.ledger import Asking, HeldBecause, Ledger, Nodes, Receiving, StudyState, now, schema
from node.receive.asking_back import AskingBack
from node.receive.reception import Reception
from node.store import Store

from .killing import Fate, Point, When, killed_words, let_die

pytestmark = [pytest.mark.interop, pytest.mark.timeout(300)]

IS_WHOLE = os.environ.get("KILL_MATRIX") == "all"
WHENS: tuple[When, ...] = ("before", "inside", "after") if IS_WHOLE else ("inside", "after")

_RECORD = "node.ledger:Receiving.record_instance"
COMES_BACK = (
    *(
        Point("ask back", "it is asked back", when, "node.ledger:Settling.ask_back")
        for when in WHENS
    ),
    *(
        Point("ask back", "it is taken up", when, "node.ledger:Asking.take", is_of_study=False)
        for when in WHENS
    ),
    *(
        Point("ask back", "an object is in the store", when, "node.store:Store.place")
        for when in ("before", "after")
    ),
    *(Point("ask back", "its row says so", when, _RECORD) for when in WHENS),
    Point("ask back", "the last row says so", "inside", _RECORD, nth=2),
    *(Point("ask back", "it goes on", when, "node.ledger:Asking.end") for when in WHENS),
)
"""Where the archive has all."""
DOES_NOT = (
    *(Point("ask back", "it is put off", when, "node.ledger:Asking.put_off") for when in WHENS),
    *(Point("ask back", "it is given up", when, "node.ledger:Asking.give_up") for when in WHENS),
)
"""Where the archive has one of two."""


def _sweep_on(ledger: Ledger, store: Store, port: int) -> AskingBack:
    """Return what asks an archive, as a node does."""
    peer = config.Peer(
        name="giving",
        ae_title="GIVING",
        host="127.0.0.1",
        port=port,
        receives="default",
        retrieve="get",
        timeout_s=20,
    )
    settings = config.Config(
        node=config.Node(ae_title="AINODE", state_dir=store.root, min_free_mb=0),
        peers=(modality(results_to=["giving"]), peer),
        retention=config.RetentionSettings(ask_back_within_s=3600),
    )
    current = Current(settings)
    reception = Reception(current, store, Receiving(ledger), is_mammogram)
    return AskingBack(current, store, Asking(ledger), reception, is_mammogram)


def _be_mortal(url: str, root: str, log: str, port: int, study: str, fate: Fate) -> None:
    """Be a node that finds out that images are needed, asks for them, and dies of it."""
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    store = Store(Path(root), "mortal")
    store.prepare()
    ledger = Ledger(url)
    let_die(fate)
    Desk(ledger, store).settling.ask_back(study, 2)
    sweep = _sweep_on(ledger, store, port)
    sweep.look()
    sweep.wait()


@pytest.fixture
def archive() -> Iterator[GivingArchive]:
    opened = GivingArchive()
    yield opened
    opened.close()


@pytest.fixture(params=["SQLite", "PostgreSQL"] if IS_WHOLE else ["SQLite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "SQLite":
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    made: str = request.getfixturevalue("postgresql").new_database(is_empty=True)
    return made


class Asker:
    """A node whose studies lack two removed images each, since a third came late."""

    def __init__(self, url: str, store: Store, archive: GivingArchive) -> None:
        self.ledger = Ledger(url)
        self.ledger.migrate()
        self.desk = Desk(self.ledger, store)
        self._url, self._store, self._archive = url, store, archive
        for name in (store.node_id, "mortal"):
            Nodes(self.ledger).register_node(name, name)

    def lacks_images_of(self, study: str, *, archived: int) -> None:
        site = Site(self.desk)
        site.keep(study, 2)
        site.done(study)
        table = schema.study
        with self.ledger.writing() as db:
            is_it = table.c.study_uid == study
            old = table.c.last_at - 100 * DAY_S
            db.execute(sa.update(table).where(is_it).values(last_at=old))
        site.retention.sweep()
        assert not self._store.path(f"received/{study}").exists()
        site.keep(study, 3)
        self._archive.has = [small_object(study, f"{study}.{n}") for n in range(1, archived + 1)]

    def die_at(self, point: Point, study: str) -> None:
        log = self._store.root.parent / "log"
        how = (str(self._store.root), str(log), self._archive.port, study, Fate(point, (study,)))
        of = multiprocessing.get_context("forkserver")
        process = of.Process(target=_be_mortal, args=(self._url, *how))
        process.start()
        process.join(60)
        assert process.exitcode == -signal.SIGKILL, f"it did not die {point.words}"
        assert killed_words(point) in log.read_text("utf-8").splitlines()[-1]
        self._store.remove_leftovers(["mortal"])  # as any other node does

    def go_on(self, study: str) -> None:
        """Let another node settle it and take it up, once the lease is over."""
        for arrival in (one for one in self.desk.arrivals() if one.study_uid == study):
            if removed := sum(part.removed for part in arrival.parts):  # else it is asked back
                self.desk.settling.ask_back(study, removed)
        self.desk.change(schema.asked_back, next_at=0.0)
        sweep = _sweep_on(self.ledger, self._store, self._archive.port)
        sweep.look()
        sweep.wait()

    def put_orphans_away(self, study: str) -> None:
        """Let the inventory look at the files of a study, as if they were old."""
        at_s = self._store.now_s() - 2 * OLD_AFTER_S
        for path in self.files(study):
            os.utime(self._store.path(path), (at_s, at_s))
        inventory = Inventory(self.desk.filing, self._store)
        for _ in range(2):
            inventory.look()

    def files(self, study: str) -> set[str]:
        found = self._store.path(f"received/{study}").iterdir()
        return {str(path.relative_to(self._store.root)) for path in found}

    def named(self, study: str) -> set[str]:
        """Return the files of its images that rows say are there."""
        rows = self.desk.rows(schema.instance)
        its = [row for row in rows if row["study_uid"] == study]
        return {row["path"] for row in its if row["removed_at"] is None}


@pytest.fixture
def asker(url: str, store: Store, archive: GivingArchive) -> Iterator[Asker]:
    opened = Asker(url, store, archive)
    yield opened
    opened.ledger.close()


def test_wherever_it_is_killed_all_images_come_back_and_the_study_goes_on_once(
    asker: Asker, store: Store
) -> None:
    for number, point in enumerate(COMES_BACK):
        study = f"1.9.1{number:03}"
        asker.lacks_images_of(study, archived=2)
        asker.die_at(point, study)
        assert asker.named(study) <= asker.files(study), f"a file is lost: {point.words}"
        asker.go_on(study)
        assert len(asker.named(study)) == 3, point.words
        asker.put_orphans_away(study)
        assert asker.files(study) == asker.named(study), point.words
        assert asker.desk.rows(schema.asked_back) == [], point.words
        assert asker.desk.history(study).count("all its images are here again") == 1, point.words
        arrival = next(one for one in asker.desk.arrivals() if one.study_uid == study)
        assert sum(part.removed for part in arrival.parts) == 0
        assert asker.desk.close(study=study).number == 2
        assert not list(store.incoming.iterdir())


def test_wherever_it_is_killed_a_study_that_cannot_be_had_is_held_and_asked_no_more(
    asker: Asker,
) -> None:
    for number, point in enumerate(DOES_NOT):
        study = f"1.9.2{number:03}"
        asker.lacks_images_of(study, archived=1)
        if "given up" in point.words:
            asker.go_on(study)
            asker.desk.change(schema.asked_back, asked_at=now() - 3600, next_at=0.0)
        asker.die_at(point, study)
        assert asker.named(study) <= asker.files(study), f"a file is lost: {point.words}"
        row = asker.desk.study(study)
        is_held = row["held_because"] == HeldBecause.MISSING
        assert is_held is (point.words == "after it is given up"), point.words
        assert is_held is (asker.desk.rows(schema.asked_back) == []), point.words
        if not is_held:
            asker.go_on(study)  # it is given up only so long after it was first asked for
            asker.desk.change(schema.asked_back, asked_at=now() - 3600)
            asker.go_on(study)
        row = asker.desk.study(study)
        assert row["held_because"] == HeldBecause.MISSING, point.words
        assert row["held_reason"].startswith("1 image needed for a new report, removed since ")
        assert row["state"] == StudyState.RECEIVING
        held = [event for event in asker.desk.history(study) if event.startswith("held: ")]
        assert len(held) == 1, point.words
        asker.desk.delete(schema.asked_back)
