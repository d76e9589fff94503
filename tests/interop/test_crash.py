"""`ai-node run` is killed again and again, and judged by those it talks to."""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from ports import free_port

from node.trial.phantom import Technique

from .actors import RESULTS, Archive, Modality, Sent
from .conftest import Started
from .killing import Fate, MortalNode, Point
from .programs import MODALITY_AE, Daemon, Node, data_set, peer, settings, wait_for

pytestmark = [
    pytest.mark.interop,
    pytest.mark.timeout(1800),
    # pynetdicom leaves the sockets of associations that are killed to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

SCORE = "node.inference:Inference.score"

ROUNDS = 2
"""Each of them kills four times: at start, while receiving, while working, while delivering."""


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

        def before_answer(_: Sent) -> None:
            if len(self.archive.received) >= nth:
                reached.set()
                if not is_told:
                    killed.wait(30)

        self.archive.before_answer = before_answer
        self.node.start()
        self.modality.insist()
        wait_for("an object on its way to the archive", reached.is_set)
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
        wait_for("a whole report set", has_all)
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
    # Large images take long; a study is given up after five crashes, so six stops tell.
    exam = stage.modality.acquire(stage.folder, Technique(rows=4096, columns=3328, spacing_mm=0.06))
    stage.node.start()
    stage.modality.insist()
    for _ in range(6):
        time.sleep(stage.chance.uniform(0.6, 1.5))
        assert stage.node.stop(within_s=90) == 0  # then systemd would kill it
        stage.node.start()
    wait_for("the report set", lambda: stage.archive.has_all_of(exam.study_uid))
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


def test_a_study_that_kills_its_process_is_given_up_and_its_neighbours_are_answered(
    tmp_path: Path,
) -> None:
    archive, port = Archive(), free_port()
    sender = peer("modality", MODALITY_AE, 104, sends=True, results_to=["archive"])
    text = settings(port, sender, peer("archive", "ARCHIVE", archive.port))
    node, modality = MortalNode(tmp_path / "node", port, text), Modality(port)
    exams = [modality.acquire(tmp_path) for _ in range(3)]
    poison = exams[1].study_uid
    at_every_image = Point("analyse", "an image is looked at", "before", SCORE)
    node.launch(Fate(at_every_image, (poison,), is_lasting=True))
    wait_for("it to listen", lambda: node.listens)
    deaths = 0

    def is_over() -> bool:
        nonlocal deaths
        if node.has_ended():  # as systemd does
            deaths += 1
            node.launch(Fate(at_every_image, (poison,), is_lasting=True))
            wait_for("it to listen or to end", lambda: node.listens or node.has_ended())
        is_safe = modality.send()
        return is_safe and all(archive.has_some_of(exam.study_uid) for exam in exams)

    try:
        wait_for("an answer to every study", is_over, 600)
        told = wait_for("every delivery", lambda: _done(node), 240)
    finally:
        node.stop()
        archive.close()
    # Five times at work; before that once for each image, if it was looked at as it arrived.
    assert 5 <= deaths <= 4 + 5
    [model] = told[poison]["models"]
    assert "the analysis ended unexpectedly several times" in model["outcome"]
    assert told[poison]["version"] == 1
    for exam in (exams[0], exams[2]):
        assert "4 of 4 images analysed" in str(told[exam.study_uid]["models"])
        assert len(set(archive.of_study(exam.study_uid))) == RESULTS


def _done(node: MortalNode) -> dict[str, dict[str, Any]] | None:
    told = node.studies()
    return told if {study["state"] for study in told.values()} == {"done"} else None
