"""Breast MRI through a node: dcmtk sends it in pieces, beside a knee; results go to Orthanc."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path

import pytest
from mr_models import uptake_model
from ports import free_port
from pydicom import Dataset

from node.trial.breast_mr.knee import knee_mr
from node.trial.breast_mr.phase_times import PhaseTimes
from node.trial.breast_mr.raster import Orientation
from node.trial.breast_mr.study import StudyPlan, breast_mr
from node.trial.breast_mr.styles import STYLES

from .allowed_findings import unexpected
from .conftest import Started
from .programs import MODALITY_AE, Node, Orthanc, peer, settings, wait_for
from .validators import dciodvfy, dsrdump

pytestmark = [pytest.mark.interop, pytest.mark.timeout(900)]

PHASES = 6
ASSOCIATIONS = 4
SENT = {
    "standard": Orientation.AXIAL,
    "Siemens": Orientation.OBLIQUE,
    "GE": Orientation.SAGITTAL,
    "Philips, slice by slice": Orientation.AXIAL,
    "enhanced": Orientation.AXIAL,
}
"""How slices lie, by the style of their headers."""
TESTS_OWN = "99TEST"
"""The coding scheme of the model's score, which no validator knows."""


@pytest.fixture
def mr_node(tmp_path: Path, started: Started) -> tuple[Orthanc, Node]:
    """A node with a model of breast MRI, between a modality and an archive."""
    uptake_model(tmp_path / "models", expected_phases=PHASES)
    port = free_port()
    orthanc = Orthanc(tmp_path / "orthanc", port)
    modality = peer("modality", MODALITY_AE, 104, sends=True, results_to=["orthanc"])
    archive = peer("orthanc", orthanc.ae_title, orthanc.port)
    lines = settings(port, modality, archive, node=[f'models_dir = "{tmp_path / "models"}"'])
    lines = lines.replace("settle_s = 0.5", "settle_s = 0.5\nquiet_s = 10")
    node = Node(tmp_path / "node", port, lines.replace('"breast-area"', '"uptake"'))
    started(orthanc)
    started(node)
    return orthanc, node


def written(objects: Iterable[Dataset], folder: Path) -> list[Path]:
    folder.mkdir(parents=True)
    paths = []
    for number, one in enumerate(objects):
        paths.append(folder / f"{number:05}.dcm")
        one.save_as(paths[-1], enforce_file_format=True)
    return paths


def send_in_pieces(node: Node, paths: list[Path]) -> None:
    """Send files shuffled, over several associations at once."""
    random.Random(len(paths)).shuffle(paths)
    sending = [
        node.send_in_background(*piece)
        for number in range(ASSOCIATIONS)
        if (piece := paths[number::ASSOCIATIONS])
    ]
    assert [one.wait(timeout=600) for one in sending] == [0] * len(sending)


@pytest.mark.parametrize("style", SENT)
def test_a_breast_comes_back_with_its_score_and_a_knee_does_not(
    style: str, mr_node: tuple[Orthanc, Node], tmp_path: Path
) -> None:
    orthanc, node = mr_node
    plan = StudyPlan(
        style=STYLES[style],
        orientation=SENT[style],
        shape=(24, 64, 96),
        schedule=PhaseTimes(posts=PHASES - 1),
    )
    breast = list(breast_mr(f"interop {style}", plan))
    knee = list(knee_mr(f"interop {style} knee", shape=(6, 32, 32)))
    breast_uid, knee_uid = (str(of[0].StudyInstanceUID) for of in (breast, knee))
    images = written(breast, tmp_path / "breast")
    in_archive = orthanc.upload(images)
    send_in_pieces(node, [*images, *written(knee, tmp_path / "knee")])

    told = wait_for("the results to be delivered", lambda: _delivered(node, breast_uid))
    assert told["reason"] == f"{PHASES}/{PHASES} phases"
    results = [
        (orthanc.folder / f"{name}.dcm", one)
        for name, one in orthanc.instances(in_archive).items()
        if one.Modality in ("SR", "OT")
    ]
    assert sorted(one.Modality for _, one in results) == ["OT", "SR"]
    for path, one in results:
        assert one.StudyInstanceUID == breast_uid
        assert one.PatientID == breast[0].PatientID
        kind = "measurement-report" if one.Modality == "SR" else "capture"
        found = [line for line in dciodvfy(path) if TESTS_OWN not in line]
        assert unexpected("dciodvfy", kind, style, found) == []
        if one.Modality == "SR":
            assert unexpected("dsrdump", kind, style, dsrdump(path)) == []
            texts = [str(e.value) for e in one.iterall() if e.keyword == "TextValue"]
            assert any("Exam AI uptake score" in text for text in texts)

    of_knee = wait_for("the knee to be closed", lambda: _closed(node, knee_uid))
    assert of_knee["state"] == "out of scope"
    assert "no model reads MR of KNEE: Body Part Examined" in str(of_knee)
    assert len(orthanc.ask("/studies")) == 1

    said = node.command("studies", breast_uid)
    assert f"{PHASES}: pre to post {PHASES - 1}" in said


def _delivered(node: Node, study_uid: str) -> dict[str, object] | None:
    told = node.studies().get(study_uid, {})
    return told if told.get("state") == "done" else None


def _closed(node: Node, study_uid: str) -> dict[str, object] | None:
    told = node.studies().get(study_uid, {})
    return told if told.get("version") else None
