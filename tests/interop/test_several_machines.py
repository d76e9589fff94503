"""Several `ai-node run` on one database and one store: who works, who dies, who takes over."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from ports import free_port
from postgres import PostgreSQL

from node.trial.phantom import Technique

from .actors import RESULTS, Archive, Exam, Modality
from .conftest import Started
from .programs import AI_NODE, MODALITY_AE, Daemon, Node, answers, peer, settings, wait_for
from .test_crash import children_of

pytestmark = [
    pytest.mark.interop,
    pytest.mark.timeout(1800),
    # pynetdicom leaves the sockets of associations that are killed to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

DEAD_AFTER_S = 8
LARGE = Technique(rows=4096, columns=3328, spacing_mm=0.06)
"""Images that take so long that one can be caught at work."""


@pytest.fixture
def archive() -> Iterator[Archive]:
    opened = Archive()
    yield opened
    opened.close()


@dataclass(frozen=True, slots=True)
class Ward:
    """Machines that share a database and a store."""

    folder: Path
    database: str
    archive: Archive
    started: Started

    def machine(self, name: str, *, start: bool = True, **role: Any) -> Node:
        """Return another machine, with a state folder and a port of its own."""
        port = free_port()
        lines = [
            f'store_dir = "{self.folder / "store"}"',
            f'database = "{self.database}"',
            f"dead_after_s = {DEAD_AFTER_S}",
        ]
        sender = peer("modality", MODALITY_AE, 104, sends=True, results_to=["archive"])
        receiver = peer("archive", "ARCHIVE", self.archive.port)
        made = Node(self.folder / name, port, settings(port, sender, receiver, node=lines), **role)
        if start:
            self.started(made)
        return made

    def running_on(self) -> str | None:
        """Return the name of the machine that a study is being processed on."""
        query = (
            "SELECT node.place FROM study_version JOIN node ON node.id = study_version.owner"
            " WHERE study_version.state = 'running'"
        )
        with psycopg.connect(self.database) as db:
            row = db.execute(query).fetchone()
        return Path(row[0].split(":")[1].split()[0]).parent.name if row else None

    def is_delivered(self, exam: Exam, node: Node) -> dict[str, Any] | None:
        """Return what is known of a study once all that is to be done about it is done."""
        told = node.studies().get(exam.study_uid, {"state": "", "deliveries": []})
        states = {one["state"] for one in told["deliveries"]}
        assert states <= {"queued", "sent", "confirmed"}
        return told if told["state"] == "done" else None

    def wait_until_delivered(self, exam: Exam, node: Node) -> list[str]:
        """Wait for the results of a study, and return its history."""
        wait_for("the report set", partial(self.archive.has_all_of, exam.study_uid), 300)
        told = wait_for("the end of its delivery", partial(self.is_delivered, exam, node))
        return [event for _, event in told["history"]]


@pytest.fixture
def ward(tmp_path: Path, postgresql: PostgreSQL, archive: Archive, started: Started) -> Ward:
    return Ward(tmp_path, postgresql.new_database(is_empty=True), archive, started)


def test_a_node_that_dies_for_good_in_mid_analysis_has_its_study_delivered_once_by_the_other(
    ward: Ward,
) -> None:
    machines = {name: ward.machine(name) for name in ("one", "two")}
    time.sleep(DEAD_AFTER_S)  # from then on each of them may take the other for dead
    modality = Modality(machines["one"].port)
    exam = modality.acquire(ward.folder, LARGE)
    modality.insist()
    victim = wait_for("a machine to analyse the study", ward.running_on)
    machines.pop(victim).kill()
    [(survivor, node)] = machines.items()
    history = ward.wait_until_delivered(exam, node)

    assert len(ward.archive.received) == RESULTS, "something was sent twice"
    told = " / ".join(history)
    assert f"process: attempt 1 died with its node on {_host()}:{ward.folder / victim}" in told
    assert f"process: attempt 2 runs on {_host()}:{ward.folder / survivor}" in told
    assert history.count("accepted by archive, unconfirmed") == 1
    assert node.studies()[exam.study_uid]["version"] == 1


def test_a_node_that_was_frozen_finds_its_work_done_and_goes_on(ward: Ward) -> None:
    machines = {name: ward.machine(name) for name in ("one", "two")}
    time.sleep(DEAD_AFTER_S)
    modality = Modality(machines["one"].port)
    exam = modality.acquire(ward.folder, LARGE)
    modality.insist()
    name = wait_for("a machine to analyse the study", ward.running_on)
    frozen = machines.pop(name)
    frozen.freeze()
    [node] = machines.values()
    try:
        ward.wait_until_delivered(exam, node)
        wait_for(
            "what it had half received to be removed",
            lambda: len(list((ward.folder / "store" / "incoming").iterdir())) == 1,
        )
    finally:
        frozen.thaw()
    wait_for(
        "its folder to come back",
        lambda: len(list((ward.folder / "store" / "incoming").iterdir())) == 2,
    )
    node.stop()
    modality.port = frozen.port
    second = modality.acquire(ward.folder / "again")
    modality.insist()
    ward.wait_until_delivered(second, frozen)
    assert len(ward.archive.of_study(exam.study_uid)) == RESULTS, "something was sent twice"


def test_one_that_only_listens_and_one_that_only_works_do_the_whole_line_together(
    ward: Ward,
) -> None:
    listener = ward.machine("door", only="listener")
    modality = Modality(listener.port)
    early = modality.acquire(ward.folder / "early")
    modality.insist()  # the work waits for whoever comes
    worker = ward.machine("works", only="worker")
    late = modality.acquire(ward.folder / "late")
    modality.insist()
    for exam in (early, late):
        history = ward.wait_until_delivered(exam, listener)
        assert "accepted by archive, unconfirmed" in history
    assert len(ward.archive.received) == 2 * RESULTS
    assert children_of(listener.pid) == set()
    assert len(children_of(worker.pid)) == 1
    assert not answers(worker.port)


@pytest.mark.parametrize("kind", ["postgresql", "sqlite"])
def test_nodes_that_start_at_once_on_an_empty_database_all_succeed(
    kind: str, tmp_path: Path, postgresql: PostgreSQL, archive: Archive, started: Started
) -> None:
    file = f"sqlite:///{tmp_path / 'shared.db'}"
    database = file if kind == "sqlite" else postgresql.new_database(is_empty=True)
    ward = Ward(tmp_path, database, archive, started)
    nodes = [ward.machine(name, start=False) for name in ("one", "two", "three")]
    for node in nodes:
        Daemon.start(node)
    try:
        for node in nodes:
            node.wait_until_ready()
        modality = Modality(nodes[0].port)
        exam = modality.acquire(tmp_path)
        modality.insist()
        ward.wait_until_delivered(exam, nodes[1])
        assert len(archive.received) == RESULTS
    finally:
        assert [node.stop() for node in nodes] == [0, 0, 0]


@pytest.fixture
def own_server() -> Iterator[PostgreSQL]:
    """A server that the test may stop."""
    server = PostgreSQL(settings=())
    yield server
    server.close()


def test_a_node_survives_that_its_database_server_is_started_anew(
    tmp_path: Path, archive: Archive, own_server: PostgreSQL, exam: Callable[[str], list[Path]]
) -> None:
    ward = Ward(tmp_path, own_server.new_database(), archive, Daemon.start)
    node = ward.machine("one", start=False)
    node.start()
    try:
        modality = Modality(node.port)
        before = modality.acquire(tmp_path / "before", LARGE)
        modality.insist()
        wait_for("the study to be analysed", ward.running_on)
        files = exam("while it is away")
        own_server.stop("immediate")
        begun = time.monotonic()
        assert "Refused: OutOfResources" in node.send(files[0], ok=False)
        assert time.monotonic() - begun < 10
        time.sleep(20)
        assert not node.has_ended()
        own_server.start()
        ward.wait_until_delivered(before, node)
        node.send(*files)
        wait_for("the other study", lambda: len(archive.received) >= 2 * RESULTS, 300)
        assert len(archive.received) == 2 * RESULTS
        said = node.says()
        assert own_server.password not in said
        assert "Traceback" not in said
        assert len(said.splitlines()) < 200
    finally:
        assert node.stop() == 0


@pytest.mark.parametrize("what_is_wrong", ["server", "password", "database", "rights"])
def test_a_database_that_cannot_be_used_is_one_message_without_the_password(
    what_is_wrong: str, ward: Ward, postgresql: PostgreSQL
) -> None:
    url = ward.database
    if what_is_wrong == "rights":
        with psycopg.connect(url, autocommit=True) as db:
            db.execute("CREATE ROLE stranger LOGIN PASSWORD 'SECRET'")
    wrong = {
        "server": url.replace(str(postgresql.port), str(free_port())),
        "password": url.replace(postgresql.password, "SECRET"),
        "database": f"{url}0",
        "rights": url.replace(f"postgres:{postgresql.password}", "stranger:SECRET"),
    }[what_is_wrong]
    expected = {
        "server": "Connection refused",
        "password": "password authentication failed",
        "database": "does not exist",
        "rights": "permission denied",
    }[what_is_wrong]
    node = Ward(ward.folder, wrong, ward.archive, ward.started).machine("one", start=False)
    ran = subprocess.run(
        [AI_NODE, "run", "--config", str(node.config)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.returncode == 1
    assert ran.stderr.startswith('[node] database "postgresql://***@127.0.0.1:')
    assert expected in ran.stderr
    assert len(ran.stderr.splitlines()) == 1
    assert "SECRET" not in ran.stderr
    assert postgresql.password not in ran.stderr


def _host() -> str:
    return subprocess.run(["hostname"], capture_output=True, text=True, check=True).stdout.strip()
