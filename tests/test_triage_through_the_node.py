"""An urgent exam through the whole node, by the demonstration's triage model.

From C-STORE to the list, the coded report as dcmtk reads it, and the pages that are looked at.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import factories
import numpy as np
import pytest
from factories import L_MLO, SMALL
from interop.programs import dcmtk
from outputs.drafts import items
from peers import Pacs, store
from ports import free_port
from pydicom import Dataset
from pydicom.uid import ComprehensiveSRStorage
from typer.testing import CliRunner

from node import config
from node.app import App
from node.cli import app as command_line
from node.outputs.marked_view import LEVEL_COLOURS
from node.outputs.report_set import to_bytes
from node.overview import StudyOverview, study_overviews
from node.result import Priority
from node.trial import phantom
from node.trial.disc import draw_disc
from node.trial.exams import DISC

pytestmark = pytest.mark.interop

SETTINGS = """
[node]
ae_title = "AINODE"
state_dir = "state"
min_free_mb = 0

[listener]
host = "127.0.0.1"
port = {port}

[[peers]]
name = "modality"
ae_title = "MODALITY"
host = "127.0.0.1"
port = 104
sends = true
results_to = ["pacs"]

[[peers]]
name = "pacs"
ae_title = "PACS"
host = "127.0.0.1"
port = {pacs_port}
receives = "worklist"

[[models]]
name = "planted-disc"
mode = "deliver"

[completeness]
settle_s = 0.5
quiet_s = 2

[triage]
demonstration_may_rank = {may_rank}
"""


class RunningNode:
    """A node with its configuration on disk, as the command line reads it."""

    def __init__(self, folder: Path, pacs: Pacs, *, may_rank: bool) -> None:
        self.folder = folder
        self.settings = folder / "node.toml"
        text = SETTINGS.format(
            port=free_port(), pacs_port=pacs.port, may_rank=str(may_rank).lower()
        )
        self.settings.write_text(text, "utf-8")
        self.app = App(config.load_config(self.settings))
        self.app.start()

    def send(self, made: list[Dataset], name: str) -> str:
        paths = phantom.save(made, self.folder / name)
        assert set(store(self.app.port, paths)) == {0}
        return str(made[0].StudyInstanceUID)

    def reaches(self, study: str, version: int = 1) -> StudyOverview:
        """Wait until a version of a study is delivered."""
        give_up_at = time.monotonic() + 120
        while time.monotonic() < give_up_at:
            for seen in study_overviews(self.app.ledger):
                if (seen.study_uid, seen.state, seen.version) == (study, "done", version):
                    return seen
            time.sleep(0.1)
        pytest.fail(f"{study_overviews(self.app.ledger)}")

    def studies(self, *options: str) -> str:
        arguments = ["studies", "--config", str(self.settings), *options]
        result = CliRunner().invoke(command_line, arguments, env={"COLUMNS": "200"})
        assert result.exit_code == 0, result.output
        return result.output


Start = Callable[..., RunningNode]


@pytest.fixture
def start(tmp_path: Path, pacs: Pacs) -> Iterator[Start]:
    running: list[RunningNode] = []

    def started(*, may_rank: bool) -> RunningNode:
        running.append(RunningNode(tmp_path, pacs, may_rank=may_rank))
        return running[-1]

    yield started
    for node in running:
        node.app.stop()


def exam(name: str, *, has_disc: bool) -> list[Dataset]:
    made = factories.exam(name)
    if has_disc:
        disc = replace(DISC, radius_mm=8, contrast=0.3)
        for dataset, view in zip(made, phantom.EXAM, strict=True):
            draw_disc(dataset, view, disc)
    return made


def report_on(pacs: Pacs, study: str) -> Dataset:
    """Return the newest structured report of a study."""
    found = [r.read() for r in pacs.received if r.sop_class == ComprehensiveSRStorage]
    return [d for d in found if d.StudyInstanceUID == study][-1]


def pages_on(pacs: Pacs, study: str) -> list[Dataset]:
    objects = [received.read() for received in pacs.received]
    return [d for d in objects if d.StudyInstanceUID == study and "PixelData" in d]


def shows(page: Dataset, level: Priority) -> bool:
    """Whether a page has words in the colour of a level."""
    return bool(np.all(page.pixel_array == LEVEL_COLOURS[level], axis=-1).any())


def test_an_urgent_exam_rises_to_the_top_and_every_place_says_why(
    start: Start, pacs: Pacs, tmp_path: Path
) -> None:
    node = start(may_rank=True)
    plain = node.send(exam("plain", has_disc=False), "plain")
    missing = node.send(exam("missing", has_disc=False)[:3], "missing")
    urgent = node.send(exam("urgent", has_disc=True), "urgent")
    for study in (plain, missing, urgent):
        node.reaches(study)
    listed = json.loads(node.studies("--json"))
    assert [(s["study_uid"], s["level"]) for s in listed] == [
        (urgent, "urgent"),
        (missing, "not assessed"),
        (plain, "routine"),
    ]
    lines = node.studies().splitlines()
    assert lines[0] == f"{urgent}  done  URGENT (demonstration model)"
    assert any("urgent (demonstration model): at or above the operating" in s for s in lines[:8])

    report = report_on(pacs, urgent)
    assert report.SeriesDescription.startswith("AI URGENT (demonstration)")
    path = tmp_path / "report.dcm"
    path.write_bytes(to_bytes(report))
    dumped = dcmtk("dsrdump", "+Pc", "+Pl", path)
    level = '(AILEVEL,99AINODE,"AI triage level")=(AIURGENT,99AINODE,"urgent")'
    assert level in dumped
    page = " ".join(dcmtk("dsr2html", path).split())
    assert "at or above the operating point urgent (50 %)" in page
    assert "demonstration model" in page
    assert "DEMONSTRATION" in page

    assert len(pages_on(pacs, urgent)) == 5
    for page_of_urgent in pages_on(pacs, urgent):
        assert shows(page_of_urgent, Priority.URGENT)
    for other in (*pages_on(pacs, plain), *pages_on(pacs, missing)):
        assert not shows(other, Priority.URGENT)


def test_a_late_image_that_makes_an_exam_urgent_is_said_as_a_change(
    start: Start, pacs: Pacs
) -> None:
    node = start(may_rank=True)
    late = exam("late", has_disc=True)
    plain = exam("late", has_disc=False)
    study = node.send([*plain[:3]], "first")
    assert node.reaches(study).level == "not assessed"
    node.send([late[phantom.EXAM.index(L_MLO)]], "then")
    seen = node.reaches(study, version=2)
    assert (seen.level, seen.level_words) == ("urgent", "not assessed in version 1, now urgent")
    assert "not assessed in version 1, now urgent" in node.studies()
    said = report_on(pacs, study).to_json()
    assert "AI triage level changed: not assessed in version 1, now urgent." in said


def test_a_demonstration_ranks_nothing_unless_the_configuration_lets_it(
    start: Start, pacs: Pacs
) -> None:
    node = start(may_rank=False)
    urgent = node.send(exam("urgent", has_disc=True), "urgent")
    node.reaches(urgent)
    plain = node.send(exam("plain", has_disc=False), "plain")
    node.reaches(plain)
    listed = json.loads(node.studies("--json"))
    assert [(s["study_uid"], s["level"]) for s in listed] == [(plain, ""), (urgent, "")]
    report = report_on(pacs, urgent)
    assert "URGENT" not in report.SeriesDescription
    assert items(report, "CODE", "AILEVEL") == []
    (own,) = items(report, "CODE", "AIMODELLEVEL")
    assert own.ConceptCodeSequence[0].CodeValue == "AIURGENT"
    assert "gives the study no level" in report.to_json()
    for page in pages_on(pacs, urgent):
        assert not shows(page, Priority.URGENT)


def test_the_disc_that_is_drawn_is_where_the_model_draws_its_box(start: Start) -> None:
    node = start(may_rank=True)
    (result,) = (
        m.result for m in node.reaches(node.send(exam("box", has_disc=True), "box")).models
    )
    assert result is not None
    pixel_mm = SMALL.spacing_mm
    for finding in result.findings:
        (x, y) = np.mean(finding.region.outline[:4], axis=0) * pixel_mm
        below_mm = y - SMALL.rows / 2 * pixel_mm
        assert x == pytest.approx(DISC.depth_mm, abs=3)
        assert below_mm == pytest.approx(DISC.below_mm[finding.label.split()[1]], abs=3)
    assert {f.label for f in result.findings} == {"L CC disc", "L MLO disc"}
