"""Results in a folder, from a node that is killed again and again while it puts them there."""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import factories
import pytest
from factories import R_CC
from ports import free_port
from pydicom import dcmread

from .conftest import Started
from .programs import LOOPBACK, MODALITY_AE, NODE_AE, Node, wait_for

pytestmark = [pytest.mark.interop, pytest.mark.timeout(900)]

RESULTS = 3
"""Of one image: the report, the summary and the marked image."""
STUDIES = 8
KILLS = 4


def folder_settings(port: int) -> str:
    """Return a configuration whose results go to the folder `results` alone."""
    return f"""
[node]
ae_title = "{NODE_AE}"
state_dir = "state"
min_free_mb = 64
dead_after_s = 3
[listener]
host = "{LOOPBACK}"
port = {port}
[[peers]]
name = "modality"
ae_title = "{MODALITY_AE}"
host = "{LOOPBACK}"
port = 104
sends = true
[[destinations]]
kind = "folder"
name = "research"
path = "../results"
[[models]]
name = "breast-area"
mode = "deliver"
[completeness]
settle_s = 0.2
quiet_s = 0.2
[delivery]
retry_first_s = 1
retry_max_s = 2
"""


class Watcher:
    """Looks into a folder all the time, as a program does that takes files as they come."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.seen: dict[str, set[str]] = {}
        """By the name of each file ever seen, the digests of what was in it."""
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def stop(self) -> None:
        self._is_over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._is_over.is_set():
            for path in self.root.glob("*/*.dcm"):
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                self.seen.setdefault(path.name, set()).add(digest)
            time.sleep(0.002)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    made = tmp_path / "results"
    made.mkdir(mode=0o750)
    return made


@pytest.fixture
def watcher(results: Path) -> Iterator[Watcher]:
    opened = Watcher(results)
    yield opened
    opened.stop()


@pytest.fixture
def node(tmp_path: Path, started: Started) -> Node:
    port = free_port()
    running = Node(tmp_path / "node", port, folder_settings(port))
    started(running)
    return running


def files_in(results: Path) -> list[Path]:
    return sorted(results.glob("*/*.dcm"))


def test_whoever_looks_sees_whole_files_only_however_often_the_node_is_killed(
    node: Node, results: Path, watcher: Watcher, tmp_path: Path
) -> None:
    for number in range(STUDIES):
        node.send(*factories.saved_exam(tmp_path / f"exam {number}", f"folder {number}", [R_CC]))
    for kill in range(KILLS):
        enough = (kill + 1) * RESULTS
        wait_for("something to come", lambda: len(files_in(results)) >= enough)  # noqa: B023 - at once
        time.sleep(random.uniform(0, 0.1))
        node.kill()
        node.start()

    def all_done() -> bool:
        states = [study["state"] for study in node.studies().values()]
        return states == ["done"] * STUDIES

    wait_for("all to be delivered", all_done)
    found = files_in(results)
    assert len(found) == RESULTS * STUDIES
    assert {path.parent.name for path in found} == set(node.studies())
    for path in found:
        assert dcmread(path).SOPInstanceUID == path.stem
        assert watcher.seen[path.name] == {hashlib.sha256(path.read_bytes()).hexdigest()}
    assert set(watcher.seen) == {path.name for path in found}
    assert not list(results.rglob("*.part"))
    ways = [one["confirmed_by"] for study in node.studies().values() for one in study["deliveries"]]
    assert set(ways) == {"folder"}


def test_a_folder_that_is_away_gets_all_once_it_is_there_and_doctor_says_so_before(
    node: Node, results: Path, tmp_path: Path
) -> None:
    results.rmdir()
    for number in range(3):
        node.send(*factories.saved_exam(tmp_path / f"exam {number}", f"away {number}", [R_CC]))
    words = "is not there: see that it is mounted, or make it"
    wait_for("it to be missed", lambda: node.says().count(words) >= 3)
    assert not results.exists()
    assert "folder research" in node.command("doctor", ok=False)
    results.mkdir(mode=0o750)
    wait_for("all to be there", lambda: len(files_in(results)) == 3 * RESULTS)
