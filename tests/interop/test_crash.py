"""`ai-node run` is killed again and again, and judged by those it talks to."""

from __future__ import annotations

import hashlib
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import factories
import pytest
from pydicom.uid import DigitalMammographyXRayImageStorageForPresentation, ExplicitVRLittleEndian
from pynetdicom import AE, AllStoragePresentationContexts, evt

from node import phantom
from node.phantom import Technique

from .conftest import Started
from .programs import (
    LOOPBACK,
    MODALITY_AE,
    NODE_AE,
    Daemon,
    Node,
    data_set,
    free_port,
    peer,
    settings,
    wait_for,
)

pytestmark = [
    pytest.mark.interop,
    pytest.mark.timeout(600),
    # pynetdicom leaves the sockets of associations that are killed to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

SUCCESS = 0x0000
RESULTS = 6
"""Of a four-view exam: the report, the summary and one marked image per view."""
ROUNDS = 4
"""Each of them kills four times: at start, while receiving, while working, while delivering."""


@dataclass(frozen=True, slots=True)
class Sent:
    """One object the node has sent."""

    study_uid: str
    sop_uid: str
    modality: str
    digest: str


class Archive:
    """A storage SCP that records every object it is sent, repeats too."""

    def __init__(self) -> None:
        self.received: list[Sent] = []
        self.before_answer: Callable[[], object] = bool
        """Called with every object, before the node is told that it is stored."""
        self._ae = AE("ARCHIVE")
        self._ae.supported_contexts = AllStoragePresentationContexts
        server = self._ae.start_server(
            (LOOPBACK, 0), block=False, evt_handlers=[(evt.EVT_C_STORE, self._receive)]
        )
        assert server is not None
        self.port = int(server.server_address[1])

    def close(self) -> None:
        """Stop listening."""
        self._ae.shutdown()

    def of_study(self, study_uid: str) -> list[Sent]:
        """Return what came of a study."""
        return [sent for sent in list(self.received) if sent.study_uid == study_uid]

    def has_all_of(self, study_uid: str) -> bool:
        """Say whether a whole report set has come."""
        return len({sent.sop_uid for sent in self.of_study(study_uid)}) >= RESULTS

    def _receive(self, event: evt.Event) -> int:
        result = event.dataset
        digest = hashlib.sha256(event.encoded_dataset(include_meta=False)).hexdigest()
        uids = str(result.StudyInstanceUID), str(result.SOPInstanceUID)
        self.received.append(Sent(*uids, str(result.Modality), digest))
        self.before_answer()
        return SUCCESS


@dataclass(frozen=True, slots=True)
class Exam:
    """The files of one study."""

    study_uid: str
    files: dict[str, Path]
    """By SOP Instance UID."""


class Modality:
    """A scanner that repeats what was not answered with Success, for as long as it takes."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._ae = AE(MODALITY_AE)
        self._ae.add_requested_context(
            DigitalMammographyXRayImageStorageForPresentation, ExplicitVRLittleEndian
        )
        self.exams: list[Exam] = []
        self.acknowledged: set[str] = set()
        """The objects the node said are safe."""

    def acquire(self, folder: Path, technique: Technique = factories.SMALL) -> Exam:
        """Make another exam."""
        name = f"exam {len(self.exams)}"
        made = phantom.exam(name, technique=technique)
        paths = phantom.save(made, folder / name)
        uids = [str(one.SOPInstanceUID) for one in made]
        exam = Exam(str(made[0].StudyInstanceUID), dict(zip(uids, paths, strict=True)))
        self.exams.append(exam)
        return exam

    def send(self) -> bool:
        """Try once to send what is not yet acknowledged; say whether nothing is left."""
        for exam in self.exams:
            left = [uid for uid in exam.files if uid not in self.acknowledged]
            if left:
                self._send([(uid, exam.files[uid]) for uid in left])
        return all(exam.files.keys() <= self.acknowledged for exam in self.exams)

    def insist(self) -> None:
        """Send until everything is acknowledged."""
        wait_for("the node to acknowledge everything", self.send)

    def _send(self, files: Sequence[tuple[str, Path]]) -> None:
        association = self._ae.associate(LOOPBACK, self.port, ae_title=NODE_AE)
        try:
            for sop_uid, file in files:
                if not association.is_established:
                    return
                if association.send_c_store(file).get("Status") == SUCCESS:
                    self.acknowledged.add(sop_uid)
        except RuntimeError:
            pass  # the association ended between the question and the sending
        finally:
            if association.is_established:
                association.release()


@dataclass
class Stage:
    """A modality, a node that gets killed, and an archive that judges it."""

    folder: Path
    node: Node
    modality: Modality
    archive: Archive
    chance: random.Random
    children: set[int] = field(default_factory=set)
    """Every process that a killed node had started."""

    def kill(self) -> None:
        """Kill the node, but none of its children."""
        self.children |= children_of(self.node.pid)
        self.node.kill()

    def kill_while_starting(self) -> None:
        """Kill it before it says that it listens, or just after."""
        Daemon.start(self.node)
        time.sleep(self.chance.uniform(0, 3))
        self.kill()

    def kill_while_receiving(self) -> None:
        """Kill it while objects arrive."""
        self.modality.acquire(self.folder)
        self.node.start()
        sender = threading.Thread(target=self.modality.send)
        sender.start()
        time.sleep(self.chance.uniform(0, 0.4))
        self.kill()
        sender.join()

    def kill_while_working(self) -> None:
        """Kill it some time after everything has been acknowledged."""
        self.modality.acquire(self.folder)
        self.node.start()
        self.modality.insist()
        time.sleep(self.chance.uniform(0.3, 3))
        self.kill()

    def kill_while_delivering(self) -> None:
        """Kill it when the archive has an object but has not said so, or has just said so."""
        self.modality.acquire(self.folder)
        reached, killed = threading.Event(), threading.Event()
        nth = len(self.archive.received) + self.chance.randint(1, RESULTS)
        is_told = self.chance.random() < 0.3

        def before_answer() -> None:
            if len(self.archive.received) >= nth:
                reached.set()
                if not is_told:
                    killed.wait(30)

        self.archive.before_answer = before_answer
        self.node.start()
        self.modality.insist()
        wait_for("an object on its way to the archive", reached.is_set, 120)
        self.kill()
        self.archive.before_answer = bool
        killed.set()


@pytest.fixture
def stage(tmp_path: Path, started: Started) -> Iterator[Stage]:
    """Everything but a started node. CRASH_SEED repeats the moments of an earlier run."""
    seed = int(os.environ.get("CRASH_SEED") or random.SystemRandom().randrange(10**6))
    sys.stdout.write(f"CRASH_SEED={seed}\n")
    archive, port = Archive(), free_port()
    sender = peer("modality", MODALITY_AE, 104, sends=True, results_to=["archive"])
    node = Node(
        tmp_path / "node", port, settings(port, sender, peer("archive", "ARCHIVE", archive.port))
    )
    started(node)
    node.stop()
    yield Stage(tmp_path, node, Modality(port), archive, random.Random(seed))
    node.stop()
    archive.close()


def test_however_often_it_is_killed_every_study_is_answered_exactly_once(stage: Stage) -> None:
    for _ in range(ROUNDS):
        stage.kill_while_receiving()
        stage.kill_while_working()
        stage.kill_while_starting()
        stage.kill_while_delivering()
    stage.node.start()
    stage.modality.insist()
    for exam in stage.modality.exams:
        has_all = partial(stage.archive.has_all_of, exam.study_uid)
        wait_for("a whole report set", has_all, 120)
    told = _wait_until_all_is_delivered(stage.node)

    kept = stage.node.kept
    for exam in stage.modality.exams:
        for sop_uid, file in exam.files.items():
            assert data_set(kept[sop_uid]) == data_set(file)
        sent = set(stage.archive.of_study(exam.study_uid))
        assert len(sent) == RESULTS, "a repeat differs, or there is more than one report set"
        assert [one.modality for one in sent].count("SR") == 1
        assert told[exam.study_uid]["version"] == 1
    assert {one.study_uid for one in stage.archive.received} == set(told)
    assert len(told) == len(stage.modality.exams)
    wait_for("the children of killed nodes to end", lambda: not any(map(_lives, stage.children)))


def test_a_clean_stop_in_the_middle_of_the_work_is_no_crash_and_the_work_is_finished_later(
    stage: Stage,
) -> None:
    # Large images take long; a study is set aside after five crashes, so six stops tell.
    exam = stage.modality.acquire(stage.folder, Technique(rows=4096, columns=3328, spacing_mm=0.06))
    stage.node.start()
    stage.modality.insist()
    for _ in range(6):
        time.sleep(stage.chance.uniform(0.6, 1.5))
        assert stage.node.stop(within_s=30) == 0
        stage.node.start()
    wait_for("the report set", lambda: stage.archive.has_all_of(exam.study_uid), 180)
    [told] = _wait_until_all_is_delivered(stage.node).values()
    assert told["version"] == 1
    sent = set(stage.archive.of_study(exam.study_uid))
    assert len(sent) == RESULTS
    assert "not analysed" not in str(told["models"])


def _wait_until_all_is_delivered(node: Node) -> dict[str, dict[str, object]]:
    def look() -> dict[str, dict[str, object]] | None:
        told = node.studies()
        deliveries = [one for study in told.values() for one in study["deliveries"]]
        assert not [one for one in deliveries if one["state"] in ("refused", "dead")]
        return told if all(one["state"] == "sent" for one in deliveries) else None

    return wait_for("every delivery to be recorded as sent", look)


def children_of(pid: int) -> set[int]:
    children = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rsplit(")", 1)[1].split()[1])
        except (OSError, ValueError):
            continue  # it has ended meanwhile
        if parent == pid:
            children.add(int(stat.parent.name))
    return children


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
