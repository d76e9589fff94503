"""A node is killed at every step of the straight line, and judged by those it talks to.

The table in docs/reliability.md is what these tests print: with RELIABILITY=docs/reliability.md
in the environment (and in one process) they write it there.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from ports import free_port

from node.ledger import GIVE_UP_AFTER, DeliveryState, schema
from node.ledger.connections import open_ledger_pool

from .actors import (
    RESULTS,
    Archive,
    Exam,
    Modality,
    Sent,
    faults,
    make_exam,
    wait_until_all_is_done,
)
from .conftest import Started
from .killing import ARCHIVE, POINTS, Fate, MortalNode, Point, killed_words
from .programs import MODALITY_AE, Node, peer, settings, wait_for

pytestmark = [
    pytest.mark.interop,
    pytest.mark.timeout(3600),
    # pynetdicom leaves the sockets of associations that are killed to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

DOCUMENT = Path(__file__).parents[2] / "docs" / "reliability.md"
DOCUMENT_TO_WRITE = os.environ.get("RELIABILITY")
IS_WHOLE = bool(DOCUMENT_TO_WRITE) or os.environ.get("KILL_MATRIX") == "all"
"""Else a node is killed at each point on one of both databases, for it takes minutes."""
STAGES = ("SQLite, 1 node", "SQLite, 2 nodes", "PostgreSQL, 1 node", "PostgreSQL, 2 nodes")

PATIENCE_S = 400
"""A point that one node alone does not reach within this time does not exist any more."""
TRIES = 24
"""With two nodes chance decides who works: so many studies are sent until the one to die does."""
BEAT_S = 0.25
"""How often a node asks for work."""
DEAD_AFTER_S = 4
DEATHS = GIVE_UP_AFTER - 2
"""A study that met so many has to be finished: that few more would set it aside, as poison."""


@dataclass
class Stage:
    """A modality, a node that dies again and again, and an archive that judges it."""

    folder: Path
    database: str
    node: MortalNode
    companion: Node | None
    """A second node on the same ledger and store, which nobody kills."""
    modality: Modality
    archive: Archive
    met: dict[Point, list[Exam]] = field(default_factory=dict)
    """The studies that were sent until each point was reached."""
    unmet: set[Point] = field(default_factory=set)
    """What the companion was quicker at."""

    def die_at(self, point: Point) -> None:
        """Start the node and let it die at a point; what it leaves is for the next start."""
        if point.step != "start" and not point.goes_on and self._most_deaths() >= DEATHS:
            self._let_it_work()
        exams = self._exams_for(point)
        self.met[point] = exams[:1]
        marks = [uid for exam in exams for uid in (exam.study_uid, *exam.files)]
        self.node.launch(Fate(point, tuple(marks)))
        if point.target == ARCHIVE:
            self._let_the_archive_kill(point, exams)
        wait_for("it to listen or to end", lambda: self.node.listens or self.node.has_ended())
        for number, exam in enumerate(exams):
            # Both nodes ask for work at a fixed beat, and one may always be a little earlier.
            time.sleep(number % 7 * BEAT_S / 7)
            if self._ends_with(point, exam):
                break
        if not exams:
            wait_for(f"it to die {point.words}", self.node.has_ended, PATIENCE_S)
        said = self.node.says()
        if not self.node.has_ended() and point.goes_on and self.companion is not None:
            self.unmet.add(point)
            return self.node.kill()
        assert self.node.has_ended(), f"it did not die {point.words}:\n{said[-3000:]}"
        assert self.node.bury() == -signal.SIGKILL, said
        assert point.target == ARCHIVE or killed_words(point) in said
        return None

    def _most_deaths(self) -> int:
        """Return how often a process died with one study that is still to be analysed.

        On a slow machine the same study may be at work when one point after the other is reached.
        """
        version = schema.study_version
        died = version.c.crashes + sa.case((version.c.state == "running", 1), else_=0)
        return self._number(
            sa.select(sa.func.max(died)).where(version.c.state.in_(("queued", "running")))
        )

    def _has_got_past(self, point: Point, exam: Exam) -> bool:
        """Say whether the companion has done with a study what the node was to die of."""
        # The archive reports to the node that is to die, whoever has asked it.
        is_certain = point.is_at_stop or point.target.endswith(".record_commitment")
        if self.companion is None or is_certain:
            return False
        if point.step != "confirm":
            return self.archive.has_all_of(exam.study_uid)
        table = schema.delivery
        query = sa.select(sa.func.count()).where(
            table.c.study_uid == exam.study_uid, table.c.state == DeliveryState.CONFIRMED
        )
        return self._number(query) == RESULTS

    def _number(self, query: sa.Select[Any]) -> int:
        engine = open_ledger_pool(self.database)
        try:
            with engine.connect() as db:
                return int(db.execute(query).scalar() or 0)
        finally:
            engine.dispose()

    def _let_it_work(self) -> None:
        self.node.launch()
        wait_for("it to finish", lambda: self._most_deaths() < DEATHS, PATIENCE_S)
        self.node.kill()

    def _exams_for(self, point: Point) -> list[Exam]:
        """Return what is sent to a node that is to die at a point, one after the other."""
        if point.goes_on:
            return self.met[list(self.met)[-1]]
        if point.step == "start":
            return []
        tries = 1 if self.companion is None else TRIES
        return [make_exam(self.folder, f"exam {len(self.met)}.{n}") for n in range(tries)]

    def _ends_with(self, point: Point, exam: Exam) -> bool:
        """Send a study, and say whether the node has died of it."""
        if exam not in self.met[point]:
            self.met[point].append(exam)
        if exam not in self.modality.exams:
            self.modality.exams.append(exam)
        if not self.modality.send(at_once=point.comes_at_once) and point.is_at_stop:
            self.modality.insist()
        if point.is_at_stop:
            self.node.tell(signal.SIGTERM)
        is_chance = point.goes_on and self.companion is not None
        give_up_at = time.monotonic() + (8 if is_chance else PATIENCE_S)
        while not self.node.has_ended() and time.monotonic() < give_up_at:
            if self._has_got_past(point, exam):
                time.sleep(0.5)
                break
            time.sleep(0.05)
        return self.node.has_ended()

    def _let_the_archive_kill(self, point: Point, exams: Sequence[Exam]) -> None:
        studies = {exam.study_uid for exam in exams}

        def before_answer(sent: Sent) -> None:
            of_study = self.archive.of_study(sent.study_uid)
            if sent.study_uid in studies and len(of_study) >= point.nth:
                self.archive.before_answer = bool
                self.node.tell(signal.SIGKILL)
                wait_for("it to end", self.node.has_ended)

        self.archive.before_answer = before_answer


@pytest.fixture
def stage(request: pytest.FixtureRequest, tmp_path: Path, started: Started) -> Iterator[Stage]:
    name: str = request.param
    ports = free_port(), free_port()
    archive = Archive(calls=ports[0])
    database = f"sqlite:///{tmp_path / 'ledger.db'}"
    if name.startswith("PostgreSQL"):
        database = request.getfixturevalue("postgresql").new_database(is_empty=True)
    shared = [
        f'database = "{database}"',
        f'store_dir = "{tmp_path / "store"}"',
        f"dead_after_s = {DEAD_AFTER_S}",
    ]
    peers = (
        peer("modality", MODALITY_AE, 104, sends=True, results_to=["archive"]),
        peer("archive", "ARCHIVE", archive.port),
    )
    one, other = (
        settings(port, *peers, node=shared).replace("settle_s = 0.5", "settle_s = 0.1")
        for port in ports
    )
    node = MortalNode(tmp_path / "one", ports[0], one)
    companion = None
    if name.endswith("2 nodes"):
        companion = Node(tmp_path / "two", ports[1], other)
        started(companion)
    yield Stage(tmp_path, database, node, companion, Modality(ports[0]), archive)
    node.stop()
    archive.close()


@pytest.mark.parametrize("stage", STAGES, indirect=True)
def test_wherever_it_is_killed_every_study_is_answered_exactly_once(
    stage: Stage, request: pytest.FixtureRequest
) -> None:
    points = [p for p in _chosen(stage.database) if stage.companion is None or _is_for_two(p)]
    for point in points:
        at = time.monotonic()
        stage.die_at(point)
        sys.stdout.write(f"{time.monotonic() - at:5.1f} s  {point.step}: {point.words}\n")
    stage.node.launch()
    wait_for("it to listen", lambda: stage.node.listens)
    stage.modality.insist()
    told = wait_until_all_is_done(stage.node)
    kept = stage.node.kept
    wrong = {
        (point.words, exam.study_uid): found
        for point, exams in stage.met.items()
        for exam in exams
        if exam in stage.modality.exams
        if (found := faults(exam, stage.archive, told, kept))
    }
    assert not wrong
    assert {one.study_uid for one in stage.archive.received} == set(told)
    name = STAGES[[name in request.node.name for name in STAGES].index(True)]
    cells = {point: _cell(stage, point) if point in points else "" for point in POINTS}
    sys.stdout.write(_table({name: cells}))
    if DOCUMENT_TO_WRITE:
        _write(Path(DOCUMENT_TO_WRITE), name, cells)


def test_the_document_has_a_row_for_every_point() -> None:
    assert list(_read(DOCUMENT)) == [_row(point) for point in POINTS]


def _chosen(database: str) -> list[Point]:
    """Return where to kill a node on a database: at each second point, with what goes on there."""
    wants_even = database.startswith("sqlite")
    number, chosen = 0, []
    for point in POINTS:
        number += not point.goes_on
        if IS_WHOLE or (number % 2 == 0) == wants_even:
            chosen.append(point)
    return chosen


def test_each_point_is_one_of_those_at_which_a_node_is_killed() -> None:
    of_both = [_chosen(database) for database in ("sqlite:///", "postgresql:///")]
    assert {point for points in of_both for point in points} == set(POINTS)
    assert all(not points[0].goes_on for points in of_both)


def _is_for_two(point: Point) -> bool:
    """Whether to kill one of two nodes at a point: what is rolled back, one node shows as well.

    Without the document to write, only after a write, where another node may take over: with two
    it takes long, because chance decides which of them works.
    """
    if DOCUMENT_TO_WRITE:
        return point.when != "inside"
    return point.when == "after" and point.is_write and point.step not in ("start", "stop")


def _cell(stage: Stage, point: Point) -> str:
    """Say what came of the studies that the node was working on when it died."""
    if point in stage.unmet:
        return "the other node was quicker"
    sent = [one for exam in stage.met[point] for one in stage.archive.of_study(exam.study_uid)]
    if not sent:
        return "nothing was at stake"
    repeats = len(sent) - len(set(sent))
    studies = len({one.study_uid for one in sent})
    words = (
        f"{len(set(sent))} objects" if studies == 1 else f"{len(set(sent))} of {studies} studies"
    )
    return f"{words}, {repeats} again" if repeats else words


def _row(point: Point) -> tuple[str, str]:
    return point.step, point.words


def _table(columns: dict[str, dict[Point, str]]) -> str:
    head = ["step", "killed", *columns]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for point in POINTS:
        cells = [*_row(point), *(cells[point] for cells in columns.values())]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _read(document: Path) -> dict[tuple[str, str], list[str]]:
    """Return the cells of the table's rows, by step and instant."""
    rows: dict[tuple[str, str], list[str]] = {}
    for line in document.read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and len(cells) == 2 + len(STAGES) and cells[0] in _STEPS:
            rows[cells[0], cells[1]] = cells[2:]
    return rows


def _write(document: Path, stage: str, cells: dict[Point, str]) -> None:
    """Put what was seen on one stage into its column of the document's table."""
    known = _read(document)
    columns = {
        name: {point: known.get(_row(point), [""] * len(STAGES))[n] for point in POINTS}
        for n, name in enumerate(STAGES)
    }
    table = _table(columns | {stage: cells})
    text = document.read_text("utf-8")
    before, _, rest = text.partition("<!-- the table -->\n")
    _, _, after = rest.partition("<!-- end -->")
    document.write_text(f"{before}<!-- the table -->\n{table}<!-- end -->{after}", "utf-8")


_STEPS = {point.step for point in POINTS}
