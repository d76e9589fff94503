"""A node that works while it is backed up, and another that goes on from the backup, elsewhere."""

from __future__ import annotations

import contextlib
import shutil
import socket
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import factories
import pytest
import sqlalchemy as sa
from peers import Pacs, modality, store
from postgres import DATABASES, PostgreSQL

from node import config
from node.app import App
from node.keeping.backup import Backup, back_up
from node.keeping.moving_ledger import move_ledger
from node.ledger import schema
from node.overview import study_overviews
from node.store import dataset_digest

pytestmark = pytest.mark.usefixtures("warm_inference")

SUCCESS, AWAY = 0x0000, 0xA700
RESULTS = 6
"""Objects that the default preset sends of a study."""


@contextlib.contextmanager
def quiet(what: str, total: int) -> Iterator[Callable[[], None]]:
    yield lambda: None


@contextlib.contextmanager
def silent(what: str, total: int) -> Iterator[Callable[[int], None]]:
    yield lambda steps: None


def settings(state_dir: Path, pacs: Pacs, database: str | None = None) -> config.Config:
    node = config.Node(ae_title="AINODE", state_dir=state_dir, database=database, min_free_mb=0)
    return config.Config(
        node=node,
        listener=config.ListenerSettings(host="127.0.0.1", port=0),
        peers=(modality(results_to=["pacs"]), pacs.peer("pacs")),
        models=(config.ChosenModel(name="breast-area", mode="deliver"),),
        completeness=config.Completeness(settle_s=0.1, quiet_s=600),
        delivery=config.Delivery(retry_first_s=0.5, retry_max_s=0.5),
    )


@contextlib.contextmanager
def running(wanted: config.Config) -> Iterator[App]:
    app = App(wanted)
    app.start()
    try:
        yield app
    finally:
        app.stop()


def wait_until(is_so: Callable[[], bool]) -> None:
    pause = threading.Event()
    while not is_so():  # the test's own time limit ends it
        pause.wait(0.1)


def states(app: App) -> dict[str, str]:
    return {seen.study_uid: seen.state for seen in study_overviews(app.ledger)}


def sent_by_study(pacs: Pacs) -> dict[str, list[str]]:
    found = defaultdict(list)
    for received in pacs.received:
        found[str(received.read().StudyInstanceUID)].append(received.sop_uid)
    return found


class Sender(threading.Thread):
    """Sends exams one after the other, and knows what was acknowledged."""

    def __init__(self, port: int, folder: Path, names: list[str]) -> None:
        super().__init__()
        self.exams = {name: factories.saved_exam(folder / name, name) for name in names}
        self.acknowledged: list[str] = []
        self.has_begun = threading.Event()
        self._port = port

    def run(self) -> None:
        for name, paths in self.exams.items():
            for dataset, path in zip(factories.exam(name), paths, strict=True):
                if store(self._port, [path]) == [SUCCESS]:
                    self.acknowledged.append(dataset.SOPInstanceUID)
                    self.has_begun.set()


class Workplace:
    """A node with a modality and a PACS, which is backed up while exams come."""

    def __init__(self, app: App, folder: Path, wanted: config.Config) -> None:
        self._app = app
        self._folder = folder
        self._config = wanted
        self._senders: list[Sender] = []

    def sender(self, *names: str) -> Sender:
        self._senders.append(Sender(self._app.port, self._folder / "exams", [*names]))
        return self._senders[-1]

    @property
    def acknowledged(self) -> set[str]:
        return {sop_uid for sender in self._senders for sop_uid in sender.acknowledged}

    def back_up(self) -> tuple[Backup, set[str]]:
        """Return what was acknowledged before it began, too."""
        before, path = self.acknowledged, self._folder / "node.toml"
        path.write_text("as it is", "utf-8")
        to = self._folder / "backup"
        made = back_up(self._app.ledger, self._config, path, to, progress=quiet, verifies=True)
        assert (made.missing.count, made.damaged.count) == (0, 0)
        return made, before


def restore(made: Backup, wanted: config.Config, pacs: Pacs) -> None:
    """Do as docs/operate.md says."""
    state_dir, database = wanted.node.state_dir, wanted.node.database
    state_dir.mkdir(parents=True)
    shutil.copy(made.folder / "ledger.db", state_dir / "ledger.db")
    shutil.copytree(made.folder.parent / "store", state_dir / "store")
    if database is not None:
        move_ledger(settings(state_dir, pacs), database, silent)


def instances(app: App) -> dict[str, sa.Row[Any]]:
    """Return what it has; all of it is as it came."""
    with app.ledger.reading() as db:
        rows = db.execute(sa.select(schema.instance)).all()
    assert all(dataset_digest(app.store.path(row.path)) == row.digest for row in rows)
    return {row.sop_uid: row for row in rows}


@pytest.fixture(params=DATABASES)
def databases(request: pytest.FixtureRequest) -> tuple[str | None, str | None]:
    """Where the ledger is here, and where it is to be elsewhere: a file of its own, or a server."""
    if request.param == "sqlite":
        return None, None
    server: PostgreSQL = request.getfixturevalue("postgresql")
    return server.new_database(is_empty=True), server.new_database(is_empty=True)


def test_what_was_acknowledged_before_a_backup_goes_on_elsewhere_and_nothing_is_told_twice(
    tmp_path: Path,
    pacs: Pacs,
    databases: tuple[str | None, str | None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = settings(tmp_path / "here", pacs, databases[0])
    elsewhere = settings(tmp_path / "else" / "where", pacs, databases[1])
    with running(here) as app:
        workplace = Workplace(app, tmp_path, here)
        workplace.sender("delivered").run()
        wait_until(lambda: set(states(app).values()) == {"done"})
        [done] = states(app)
        pacs.answer = lambda received: AWAY
        workplace.sender("waiting").run()
        wait_until(lambda: "delivering" in states(app).values())
        meanwhile = workplace.sender("meanwhile", "and late")
        meanwhile.start()
        assert meanwhile.has_begun.wait(60)
        workplace.back_up()
        made, before = workplace.back_up()
        meanwhile.join()
        everything = workplace.acknowledged

    restore(made, elsewhere, pacs)
    pacs.forget()
    monkeypatch.setattr(socket, "gethostname", lambda: "another-host")
    with running(elsewhere) as app:
        assert before <= instances(app).keys() <= everything
        # What came after it, nobody knows which, is sent once more by whoever has it.
        Sender(app.port, tmp_path / "again", ["waiting", "meanwhile", "and late"]).run()
        wait_until(lambda: list(states(app).values()) == ["done"] * 4)
        assert instances(app).keys() == everything
    sent = sent_by_study(pacs)
    assert done not in sent  # it had its results
    assert [len(uids) for uids in sent.values()] == [RESULTS] * 3
    assert all(len(set(uids)) == RESULTS for uids in sent.values())
