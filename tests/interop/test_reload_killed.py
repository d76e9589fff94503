"""A node is killed at each step of a reload; the next start goes on with whatever is on disk.

As `test_kill_matrix.py`: each time another version of the model is put in the place of the former.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from ports import free_port

from .actors import Archive, Modality, faults, wait_until_all_is_done
from .killing import Fate, MortalNode, Point, killed_words
from .programs import MODALITY_AE, peer, settings, wait_for
from .test_reload import put_package, with_own_model

pytestmark = [
    pytest.mark.interop,
    pytest.mark.timeout(1800),
    # pynetdicom leaves the sockets of associations that are killed to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

IS_WHOLE = os.environ.get("KILL_MATRIX") == "all"
"""Else it is killed on one of both databases: no step of a reload is another on the other."""

_KEEP = "node.running.kept_packages:KeptPackages.keep"
_RECORD = "node.ledger:KnownPackages.record"


def _point(name: str, when: str, target: str, nth: int = 1, within: str = "") -> Point:
    return Point("reload", name, when, target, nth=nth, within=within, is_of_study=False)  # type: ignore[arg-type]


POINTS = (
    _point("the new configuration is read", "before", "node.app:load_another"),
    _point("the new configuration is checked", "after", "node.app:load_another"),
    # The first is that of the start.
    _point("the new package is copied", "before", _KEEP, nth=2),
    _point(
        "the new package is in its place", "before", "node.running.kept_packages:fsync_path", nth=7
    ),
    _point("the new package is copied", "after", _KEEP, nth=2),
    _point("the new networks have run", "after", "node.running.networks:Networks.start", nth=2),
    *(_point("the new package is recorded", when, _RECORD, nth=2) for when in ("inside", "after")),
    _point("the new configuration is worked by", "after", "node.app:App._become"),
)


@pytest.fixture(params=["SQLite", "PostgreSQL"] if IS_WHOLE else ["SQLite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "SQLite":
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    made: str = request.getfixturevalue("postgresql").new_database(is_empty=True)
    return made


@pytest.fixture
def archive() -> Iterator[Archive]:
    opened = Archive()
    yield opened
    opened.close()


@pytest.fixture
def mortal(url: str, tmp_path: Path, archive: Archive) -> Iterator[MortalNode]:
    port = free_port()
    peers = (
        peer("modality", MODALITY_AE, 104, sends=True, results_to=["archive"]),
        peer("archive", "ARCHIVE", archive.port),
    )
    own = [f'database = "{url}"', "dead_after_s = 4"]
    node = MortalNode(tmp_path / "node", port, with_own_model(settings(port, *peers, node=own)))
    put_package(node.folder / "models", "1.0.0")
    yield node
    node.stop()


def test_wherever_a_reload_is_killed_every_study_is_answered_once(
    mortal: MortalNode, archive: Archive, tmp_path: Path
) -> None:
    modality = Modality(mortal.port)
    for number, point in enumerate(POINTS, 1):
        mortal.launch(Fate(point, ()))
        wait_for("it to listen", lambda: mortal.listens or mortal.has_ended())
        modality.acquire(tmp_path)
        modality.insist()
        put_package(mortal.folder / "models", f"1.0.{number}")
        mortal.tell(signal.SIGHUP)
        wait_for(f"it to die {point.words}", mortal.has_ended)
        said = mortal.says()
        assert mortal.bury() == -signal.SIGKILL, said
        assert killed_words(point) in said
    mortal.launch()
    wait_for("it to listen", lambda: mortal.listens)
    modality.acquire(tmp_path)
    modality.insist()
    told = wait_until_all_is_done(mortal)
    kept = mortal.kept
    wrong = {exam.study_uid: faults(exam, archive, told, kept) for exam in modality.exams}
    assert not {study: found for study, found in wrong.items() if found}
    versions = {model["version"] for study in told.values() for model in study["models"]}
    assert len(versions) > 1, "each is read by the package of when it was complete"
    assert told[modality.exams[-1].study_uid]["models"][0]["version"] == f"1.0.{len(POINTS)}"
