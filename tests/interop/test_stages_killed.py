"""A node is killed around the end of triage and the begin of the report that waited after it.

As `test_kill_matrix.py`, with a model that may rank a study, and with others that wait beside it.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from ports import free_port

from .actors import Archive, Exam, Modality, faults, make_exam, wait_until_all_is_done
from .killing import Fate, MortalNode, Point, killed_words
from .programs import MODALITY_AE, peer, settings, wait_for

pytestmark = [
    pytest.mark.interop,
    pytest.mark.timeout(1800),
    # pynetdicom leaves the sockets of associations that are killed to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

PATIENCE_S = 300
BESIDE = 3
"""Studies that come together, so that the report of the first waits for the triage of others."""

_END = "node.ledger:Processing.end_triage"
_BEGIN = "node.ledger:Processing.begin_version"
POINTS = (
    *(Point("triage", "its level is known", when, _END) for when in ("before", "inside", "after")),
    Point("report", "the study is taken for its report", "before", _BEGIN, nth=2),
    Point("report", "the study is taken for its report", "inside", _BEGIN, nth=2),
    Point("report", "the study is taken for its report", "after", _BEGIN, nth=2),
    Point("report", "the objects are built", "after", "node.analysis.pipeline:build_report_set"),
)


@pytest.fixture(params=["SQLite", "PostgreSQL"])
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
    own = [f'database = "{url}"', f'store_dir = "{tmp_path / "store"}"', "dead_after_s = 4"]
    peers = (
        peer("modality", MODALITY_AE, 104, sends=True, results_to=["archive"]),
        peer("archive", "ARCHIVE", archive.port),
    )
    text = settings(port, *peers, node=own).replace("settle_s = 0.5", "settle_s = 0.1")
    ranking = text.replace('"breast-area"', '"planted-disc"')
    node = MortalNode(
        tmp_path / "node", port, f"{ranking}[triage]\ndemonstration_may_rank = true\n"
    )
    yield node
    node.stop()


def die_at(point: Point, node: MortalNode, modality: Modality, exams: list[Exam]) -> bool:
    """Let a node die at a point with the first of some studies; return whether it came to it.

    By chance nothing may wait beside it, so that its report is made by the attempt that triaged.
    """
    first = exams[0]
    node.launch(Fate(point, (first.study_uid, *first.files)))
    wait_for("it to listen", lambda: node.listens)
    modality.exams += exams
    # It may die before it has them all; the next one is sent the rest.
    wait_for("it to have all, or to die", lambda: modality.send() or node.has_ended())

    def is_over() -> bool:
        if node.has_ended():
            return True
        told = node.studies()
        return {study["state"] for study in told.values()} == {"done"}

    wait_for(f"it to die {point.words}", is_over, PATIENCE_S)
    if not node.has_ended():
        node.kill()
        return False
    said = node.says()
    assert node.bury() == -signal.SIGKILL, said
    assert killed_words(point) in said
    return True


def test_wherever_it_is_killed_between_the_stages_every_study_is_answered_once(
    mortal: MortalNode, archive: Archive, tmp_path: Path
) -> None:
    modality = Modality(mortal.port)
    reached = set()
    for number, point in enumerate(POINTS):
        exams = [make_exam(tmp_path, f"exam {number}.{n}") for n in range(BESIDE)]
        if die_at(point, mortal, modality, exams):
            reached.add((point.step, point.when))
    mortal.launch()
    wait_for("it to listen", lambda: mortal.listens)
    modality.insist()
    told = wait_until_all_is_done(mortal)
    kept = mortal.kept
    wrong = {exam.study_uid: faults(exam, archive, told, kept) for exam in modality.exams}
    assert not {study: found for study, found in wrong.items() if found}
    assert {study["level"] for study in told.values()} == {"routine"}
    assert len(told) == len(POINTS) * BESIDE
    waited = [study for study in told.values() if "its report waits for its turn" in str(study)]
    assert waited, "no report has waited for another study"
    assert {("triage", "before"), ("triage", "inside"), ("triage", "after")} <= reached
    assert any(step == "report" for step, _ in reached)
