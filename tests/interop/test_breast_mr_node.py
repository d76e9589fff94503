"""Breast MRI through a node: dcmtk sends it in pieces, beside a knee; results go to Orthanc."""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mr_models import uptake_model
from ports import free_port
from pydicom import Dataset, dcmread

from node.study import Laterality
from node.trial.breast_mr.knee import knee_mr
from node.trial.breast_mr.phase_times import PhaseTimes
from node.trial.breast_mr.raster import Orientation
from node.trial.breast_mr.study import StudyPlan, breast_mr
from node.trial.breast_mr.styles import STYLES

from .allowed_findings import unexpected
from .breast_mr_plans import PHASES, plans
from .breast_mr_results import (
    ENHANCING,
    Slices,
    before_contrast,
    phases_of,
    segments,
    slices_before_contrast,
    volumes_ml,
    voxels_filled,
)
from .conftest import Started
from .programs import MODALITY_AE, Node, Orthanc, peer, settings, wait_for
from .test_validators import pixelmed
from .validators import PixelMed, dciodvfy, validators_of

__all__ = ["pixelmed"]

pytestmark = [pytest.mark.interop, pytest.mark.timeout(1800)]

ASSOCIATIONS = 4
TESTS_OWN = "99TEST"
"""The coding scheme of a test model's score, which no validator knows."""
KINDS = {"SR": "measurement-report", "SEG": "segmentation", "OT": "capture"}
"""What a destination like OHIF gets, by Modality."""

PACKAGE = "breast-mr-enhancement"
THRESHOLD = 0.7
"""Of the package: the signal rose by 70 %."""
EARLY = 2
"""The phase nearest 150 s, of those that PhaseTimes has."""
BESIDE = 3
"""Of the images that are not of the dynamic series one in three is sent."""
VALIDATED = ("standard", "enhanced")
"""Of whose results all validators are asked; the quick ones are of every style's."""


WANTED = os.environ.get("BREAST_MR", "")
"""Nothing, "styles" or "all"."""
ROUNDS: tuple[Orientation | None, ...] = (None, *Orientation) if WANTED == "all" else (None,)
EVERYDAY = frozenset(
    {"standard", "Siemens", "GE", "enhanced", "Philips enhanced", "legacy converted"}
)
"""Axial, oblique, turned, backwards and coronal; classic, enhanced and legacy converted."""


def started_node(folder: Path, started: Started, model: str, **chosen: str) -> tuple[Orthanc, Node]:
    """Start a node with one model between a modality and an archive that shows in OHIF."""
    port = free_port()
    orthanc = Orthanc(folder / "orthanc", port)
    modality = peer("modality", MODALITY_AE, 104, sends=True, results_to=["orthanc"])
    archive = peer("orthanc", orthanc.ae_title, orthanc.port)
    archive = archive.replace('receives = "default"', 'receives = "ohif"')
    of_node = [f"{key} = {json.dumps(value)}" for key, value in chosen.items()]
    lines = settings(port, modality, archive, node=of_node)
    lines = lines.replace("settle_s = 0.5", "settle_s = 0.5\nquiet_s = 10")
    node = Node(folder / "node", port, lines.replace('"breast-area"', f'"{model}"'))
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
    assert [one.wait(timeout=1200) for one in sending] == [0] * len(sending)


@dataclass(frozen=True)
class Sent:
    """A study that a node was sent."""

    plan: StudyPlan
    first: Dataset
    """Patient, study and frame of reference are the same in all its objects."""
    slices: Slices
    files: list[Path]
    in_archive: str
    """Orthanc's own identifier of the study, of which it has the phase before contrast."""


def prepared(style: str, plan: StudyPlan, orthanc: Orthanc, folder: Path) -> Sent:
    """Write a study as files, and put what a segmentation refers to into the archive."""
    of_phases, beside = phases_of(style, plan, breast_mr(style, plan))
    made = [*of_phases, *beside[::BESIDE]]
    files = written(made, folder)
    wanted = {one.SOPInstanceUID for one in before_contrast(style, plan, made)}
    pre = [path for one, path in zip(made, files, strict=True) if one.SOPInstanceUID in wanted]
    slices = slices_before_contrast(style, plan, made)
    return Sent(plan, made[0], slices, files, orthanc.upload(pre))


@pytest.mark.parametrize("orientation", ROUNDS, ids=lambda lies: lies.name if lies else "mixed")
def test_a_study_of_any_style_comes_back_with_what_enhances_where_it_lies_and_how_much(
    orientation: Orientation | None,
    tmp_path: Path,
    started: Started,
    subtests: pytest.Subtests,
    pixelmed: PixelMed,
) -> None:
    orthanc, node = started_node(tmp_path, started, PACKAGE)
    studies = {
        style: prepared(style, plan, orthanc, tmp_path / "sent" / style)
        for style, plan in plans(orientation).items()
        if WANTED or style in EVERYDAY
    }
    knee = knee_mr("a knee beside them", shape=(6, 32, 32))
    files = written(knee, tmp_path / "sent" / "knee")
    send_in_pieces(node, [*files, *(path for sent in studies.values() for path in sent.files)])

    wait_for("segmentations of all", lambda: segmented(orthanc) == len(studies), within_s=1200)
    told = wait_for("all to be delivered", lambda: delivered(node, len(studies)))
    assert told[str(knee[0].StudyInstanceUID)]["state"] == "out of scope"
    assert len(orthanc.ask("/studies")) == len(studies), "nothing is said of the knee"
    for style, sent in studies.items():
        of_study = told[str(sent.first.StudyInstanceUID)]
        took_s = of_study["done_at"] - of_study["last_image_at"]
        sys.stdout.write(f"{style}: results stored {took_s:.0f} s after the last of its images\n")
        with subtests.test(style):
            captures = None if style in VALIDATED else 1
            results = results_in(orthanc, sent.in_archive, captures)
            by_kind = {one.Modality: one for _, one in results}
            assert sorted(by_kind) == sorted(KINDS)
            assert {one.StudyInstanceUID for _, one in results} == {sent.first.StudyInstanceUID}
            assert {one.PatientID for _, one in results} == {sent.first.PatientID}
            assert complaints(results, style, pixelmed) == {}
            assert_volumes(by_kind["SR"], sent.plan)
            assert_in_place(by_kind["SEG"], sent)


def complaints(
    results: Iterable[tuple[Path, Dataset]], style: str, pixelmed: PixelMed
) -> dict[str, list[str]]:
    """Return what validators find: all of them in some, the quick ones in every style's."""
    found: dict[str, list[str]] = {}
    for path, one in results:
        kind = KINDS[one.Modality]
        for name, look in validators_of(kind, pixelmed).items():
            if style in VALIDATED or name in ("dciodvfy", "dsrdump"):
                lines = unexpected(name, kind, style, look(path))
                found.setdefault(f"{name} {kind}", []).extend(lines)
    return {name: lines for name, lines in found.items() if lines}


def assert_volumes(report: Dataset, plan: StudyPlan) -> None:
    """Within 3 % from 2 ml and 10 % from half a ml, side by side."""
    truth = plan.truth(EARLY, THRESHOLD)
    found = volumes_ml(report)
    for side in (Laterality.RIGHT, Laterality.LEFT):
        true_ml = truth.volume_ml(side)
        assert true_ml > 0.5
        within = 0.03 if true_ml >= 2 else 0.1
        assert found[ENHANCING, side] == pytest.approx(true_ml, rel=within), side


def assert_in_place(segmentation: Dataset, sent: Sent) -> None:
    """On the slices of the phase before contrast, and where the lesion of its side is."""
    assert segmentation.FrameOfReferenceUID == sent.first.FrameOfReferenceUID
    [series] = segmentation.ReferencedSeriesSequence
    referred = {str(one.ReferencedSOPInstanceUID) for one in series.ReferencedInstanceSequence}
    assert referred <= {sop_uid for sop_uid, _ in sent.slices}
    found = segments(segmentation)
    for frame in (frame for segment in found for frame in segment.frames):
        assert np.abs(frame.position - sent.slices[frame.source]).max() < 0.01, "its source's, mm"
    grid = sent.plan.raster()
    for lesion in sent.plan.truth(EARLY, THRESHOLD).lesions:
        [segment] = [one for one in found if (one.kind, one.side) == (ENHANCING, lesion.side)]
        sign = 1 if lesion.side is Laterality.LEFT else -1
        assert (segment.points[:, 0] * sign > 0).all(), "left is towards +x (PS3.3 C.7.6.2.1.1)"
        assert np.abs(segment.points.mean(axis=0) - lesion.centre_mm).max() < 1, "mm"
        filled = voxels_filled(lesion.points_mm, grid)
        marked = voxels_filled(segment.points, grid, least=1)
        assert 2 * len(filled & marked) / (len(filled) + len(marked)) > 0.85, "Dice coefficient"


@pytest.fixture
def counting(tmp_path: Path, started: Started) -> tuple[Orthanc, Node]:
    """A node whose model says how many phases there are to be."""
    uptake_model(tmp_path / "models", expected_phases=PHASES)
    return started_node(tmp_path, started, "uptake", models_dir=str(tmp_path / "models"))


def test_a_study_is_complete_with_its_last_phase_if_the_model_says_how_many(
    counting: tuple[Orthanc, Node], tmp_path: Path
) -> None:
    orthanc, node = counting
    plan = StudyPlan(
        style=STYLES["GE"],
        orientation=Orientation.SAGITTAL,
        shape=(24, 64, 96),
        schedule=PhaseTimes(posts=PHASES - 1),
    )
    breast = breast_mr("interop", plan)
    knee = knee_mr("interop, knee", shape=(6, 32, 32))
    breast_uid, knee_uid = (str(of[0].StudyInstanceUID) for of in (breast, knee))
    images = written(breast, tmp_path / "breast")
    in_archive = orthanc.upload(images)
    send_in_pieces(node, [*images, *written(knee, tmp_path / "knee")])

    told = wait_for("the results to be delivered", lambda: delivered(node, 1))
    assert told[breast_uid]["reason"] == f"{PHASES}/{PHASES} phases, quiet 0.5 s"
    results = results_in(orthanc, in_archive)
    assert sorted(one.Modality for _, one in results) == ["OT", "SR"], "there is no solid"
    for path, one in results:
        found = [line for line in dciodvfy(path) if TESTS_OWN not in line]
        assert unexpected("dciodvfy", KINDS[one.Modality], "GE", found) == []
        if one.Modality == "SR":
            texts = [str(e.value) for e in one.iterall() if e.keyword == "TextValue"]
            assert any("Exam AI uptake score" in text for text in texts)
    assert told[knee_uid]["state"] == "out of scope"
    assert "no model reads MR of KNEE: Body Part Examined" in str(told[knee_uid])
    said = node.command("studies", breast_uid)
    assert f"{PHASES}: pre to post {PHASES - 1}" in said


def segmented(orthanc: Orthanc) -> int:
    """Return how many segmentations have come; it costs the node nothing to ask."""
    query = json.dumps({"Level": "Series", "Query": {"Modality": "SEG"}})
    return len(orthanc.ask("/tools/find", query.encode()))


def delivered(node: Node, count: int) -> dict[str, dict[str, Any]] | None:
    """Return what the node says of every study once so many are done, and the knee is closed."""
    told = node.studies()
    states = [study["state"] for study in told.values()]
    return told if states.count("done") == count and "out of scope" in states else None


def results_in(
    orthanc: Orthanc, study: str, captures: int | None = None
) -> list[tuple[Path, Dataset]]:
    """Return the results in a study of the archive, as files and read, of captures so many."""
    found = list[tuple[Path, Dataset]]()
    for series in orthanc.ask(f"/studies/{study}/series"):
        if series["MainDicomTags"]["Modality"] in KINDS:
            for identifier in series["Instances"][:captures]:
                path = orthanc.folder / f"{identifier}.dcm"
                path.write_bytes(orthanc.call(f"/instances/{identifier}/file"))
                found.append((path, dcmread(path)))
    return found
