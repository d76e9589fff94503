"""What many tests begin with: a store, a ledger on a real file, a PACS on a free port."""

from __future__ import annotations

import gc
import os
import shutil
import socketserver
import threading
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from pathlib import Path

import pytest
from examples import load_profile
from factories import SMALL
from ledgers import Desk
from peers import Archive, Pacs
from postgres import DATABASES, NewDatabase, PostgreSQL
from pynetdicom.transport import AssociationServer
from warm import Warm

from node.ledger import Ledger
from node.store import Store
from node.trial import phantom

load_profile()

# For tests that load ONNX Runtime before the node does (node/inference/onnx.py says why).
os.environ["ORT_DISABLE_TELEMETRY"] = "1"


def pytest_configure(config: pytest.Config) -> None:
    """Shorten what tests wait for; not where interop tests run: they get everything as it is."""
    if "not interop" not in config.option.markexpr:
        return
    # How often a server looks whether it is to end: the half second of the default adds up.
    socketserver.BaseServer.serve_forever.__defaults__ = (0.02,)
    # Each of pynetdicom's collects garbage at every 59th look, which then is every second.
    setattr(AssociationServer, "service_actions", lambda server: None)  # noqa: B010 - for mypy
    # Many tests generate the same images; what is made of an array here is always a copy.
    phantom._stored_values = lru_cache(maxsize=32)(phantom._stored_values)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Return how many processes run the tests: many of them wait, for a network or a timer.

    Interop tests wait longest, for programs that start and for what they answer.
    """
    halves = 3 if "not interop" in config.option.markexpr else 4
    return (os.cpu_count() or 1) * halves // 2


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long, so that nobody waits for it at the end."""

    def patience_s(item: pytest.Item) -> int:
        mark = item.get_closest_marker("timeout")
        return int(mark.args[0]) if mark else 0

    items.sort(key=patience_s, reverse=True)


def pytest_collection_finish() -> None:
    """Take what is imported by now out of the collector's sight: it does not become garbage."""
    gc.freeze()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    made = Store(tmp_path / "store")
    made.prepare()
    return made


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """A server that all tests share; each asks it for a database of its own."""
    started = PostgreSQL()
    yield started
    started.close()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file with the ledger's tables, to be copied."""
    path = tmp_path_factory.mktemp("template") / "ledger.db"
    ledger = Ledger(f"sqlite:///{path}")
    ledger.migrate()
    ledger.close()
    return path


@pytest.fixture(scope="module")
def new_file(sqlite_template: Path) -> NewDatabase:
    """Make files with the ledger's tables."""
    return lambda folder: f"sqlite:///{shutil.copy(sqlite_template, folder / 'ledger.db')}"


@pytest.fixture(scope="module", params=DATABASES)
def new_database(request: pytest.FixtureRequest) -> NewDatabase:
    """Make databases with the ledger's tables; tests that use this run on SQLite and PostgreSQL."""
    if request.param == "postgresql":
        server: PostgreSQL = request.getfixturevalue("postgresql")
        return lambda folder: server.new_database()
    made: NewDatabase = request.getfixturevalue("new_file")
    return made


@pytest.fixture
def ledger(new_database: NewDatabase, tmp_path: Path) -> Iterator[Ledger]:
    """A ledger on a SQLite file, and in interop tests on PostgreSQL."""
    opened = Ledger(new_database(tmp_path))
    yield opened
    opened.close()


@pytest.fixture
def desk(ledger: Ledger, store: Store) -> Desk:
    """The ledger with a queue that only remembers."""
    return Desk(ledger, store)


@pytest.fixture(scope="session")
def _warm() -> Iterator[Warm]:
    made = Warm()
    yield made
    made.close()


@pytest.fixture
def warm_inference(_warm: Warm, monkeypatch: pytest.MonkeyPatch) -> None:
    """Inference does not start a child for each test: that takes longer than what it is asked."""
    _warm.lend(monkeypatch)


@pytest.fixture
def small_exam(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever generates an exam and does not say how gets large pixels, which are made sooner."""
    monkeypatch.setattr(phantom, "exam", partial(phantom.exam, technique=SMALL))


@pytest.fixture
def nameless_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """All threads have one name: those of other libraries are theirs to choose."""
    one_name = property(lambda thread: "thread", lambda thread, name: None)
    monkeypatch.setattr(threading.Thread, "name", one_name)


@pytest.fixture
def open_pacs() -> Iterator[Callable[..., Pacs]]:
    """Start PACSs that end with the test."""
    opened: list[Pacs] = []

    def start(*args: object, **kwargs: object) -> Pacs:
        opened.append(Pacs(*args, **kwargs))  # type: ignore[arg-type]  # as Pacs says
        return opened[-1]

    yield start
    for pacs in opened:
        pacs.close()


@pytest.fixture
def open_archive() -> Iterator[Callable[..., Archive]]:
    """Start archives that end with the test."""
    opened: list[Archive] = []

    def start(*args: object, **kwargs: object) -> Archive:
        opened.append(Archive(*args, **kwargs))  # type: ignore[arg-type]  # as Archive says
        return opened[-1]

    yield start
    for archive in opened:
        archive.close()


@pytest.fixture
def archive(open_archive: Callable[..., Archive]) -> Archive:
    """A PACS that also answers C-FIND and storage commitment."""
    return open_archive()


@pytest.fixture(scope="session")
def _standing_pacs() -> Iterator[Pacs]:
    standing = Pacs()
    yield standing
    standing.close()


@pytest.fixture
def pacs(_standing_pacs: Pacs) -> Pacs:
    """A PACS that takes everything, uncompressed; one for all tests, each finds it as new."""
    _standing_pacs.forget()
    return _standing_pacs
