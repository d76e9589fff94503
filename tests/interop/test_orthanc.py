"""The README's configuration and a stock Orthanc: a study goes in, its results come back."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.uid import generate_uid

from node.trial import exams

from .programs import MODALITY_AE, NODE_AE, Node, Orthanc, dcmtk, wait_for

pytestmark = [pytest.mark.interop, pytest.mark.timeout(900)]

Exam = Callable[[str], list[Path]]

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
MAMMOGRAM = "1.2.840.10008.5.1.4.1.1.1.2"
RESULTS = 6
"""Of a four-view exam: the report, the summary and one marked image per view."""


def test_within_seconds_of_the_last_image_orthanc_holds_the_report_and_the_captures(
    orthanc_node: tuple[Orthanc, Node], exam: Exam
) -> None:
    orthanc, _ = orthanc_node
    study = orthanc.upload(exam("forwarded"))
    orthanc.forward(study)
    sent_at = time.monotonic()
    results = _wait_for_results(orthanc, study)
    assert time.monotonic() - sent_at < 30
    report = [result for result in results.values() if result.Modality == "SR"]
    captures = [r for r in results.values() if r.SOPClassUID == SECONDARY_CAPTURE]
    assert len(report) == 1
    assert len(captures) == RESULTS - 1


def test_results_belong_to_the_same_patient_and_study_as_the_images(
    orthanc_node: tuple[Orthanc, Node], exam: Exam
) -> None:
    orthanc, _ = orthanc_node
    study = orthanc.upload(exam("same patient"))
    [image, *_] = orthanc.instances(study).values()
    orthanc.forward(study)
    results = _wait_for_results(orthanc, study)
    assert orthanc.ask("/studies") == [study]
    assert len(orthanc.ask("/patients")) == 1
    for result in results.values():
        for keyword in (
            "PatientID",
            "PatientName",
            "PatientBirthDate",
            "PatientSex",
            "StudyInstanceUID",
            "StudyDate",
            "StudyTime",
            "AccessionNumber",
            "StudyID",
        ):
            assert result[keyword].value == image[keyword].value, keyword
        assert result.SeriesInstanceUID != image.SeriesInstanceUID


def test_dcmtk_shows_the_areas_and_that_nobody_has_verified_them(
    orthanc_node: tuple[Orthanc, Node], exam: Exam
) -> None:
    orthanc, _ = orthanc_node
    study = orthanc.upload(exam("report"))
    orthanc.forward(study)
    results = _wait_for_results(orthanc, study)
    [report] = [orthanc.folder / f"{i}.dcm" for i, r in results.items() if r.Modality == "SR"]
    page = dcmtk("dsr2html", report)
    assert len(re.findall(r"\b\d+(?:\.\d+)?\s*cm2", page)) >= 4
    assert re.search(r"not\s+verified|unverified", page, re.IGNORECASE)


def test_dcmtk_draws_every_capture_and_none_is_blank(
    orthanc_node: tuple[Orthanc, Node], exam: Exam
) -> None:
    orthanc, _ = orthanc_node
    study = orthanc.upload(exam("captures"))
    orthanc.forward(study)
    for identifier, result in _wait_for_results(orthanc, study).items():
        if result.SOPClassUID != SECONDARY_CAPTURE:
            continue
        assert result.Modality
        picture = orthanc.folder / f"{identifier}.png"
        dcmtk("dcml2pnm", "--write-png", orthanc.folder / f"{identifier}.dcm", picture)
        with Image.open(picture) as opened:
            drawn = np.asarray(opened)
        assert drawn.shape[:2] == (result.Rows, result.Columns)
        assert drawn.std() > 5


def test_a_study_that_comes_back_with_our_results_in_it_is_not_analysed_again(
    orthanc_node: tuple[Orthanc, Node], exam: Exam
) -> None:
    orthanc, node = orthanc_node
    study = orthanc.upload(exam("circle"))
    orthanc.forward(study)
    before = _wait_for_results(orthanc, study)
    told = wait_for("the results to be confirmed", lambda: _done(node, before))
    orthanc.forward(study)

    later = orthanc.upload(exam("the next one"))  # once this is answered, so would the other be
    orthanc.forward(later)
    _wait_for_results(orthanc, later)
    assert orthanc.ask(f"/studies/{study}/statistics")["CountInstances"] == 4 + RESULTS
    assert _results(orthanc.instances(study)) == before
    assert _told(node, before) == told
    assert told["version"] == 1


def test_orthanc_answers_for_every_object_by_storage_commitment(
    orthanc_node: tuple[Orthanc, Node], exam: Exam
) -> None:
    orthanc, node = orthanc_node
    study = orthanc.upload(exam("committed"))
    orthanc.forward(study)
    results = _wait_for_results(orthanc, study)
    told = wait_for("the results to be confirmed", lambda: _done(node, results))
    assert len(told["deliveries"]) == RESULTS
    for delivery in told["deliveries"]:
        assert (delivery["state"], delivery["confirmed_by"]) == ("confirmed", "commitment")
    assert [words for _, words in told["history"]][-1] == "delivered to orthanc, confirmed"


def test_nothing_is_sent_to_an_orthanc_that_has_the_study_under_another_patient(
    orthanc_node: tuple[Orthanc, Node], exam: Exam
) -> None:
    orthanc, node = orthanc_node
    files = exam("mixed up")
    study = orthanc.upload(files)
    other = dcmread(files[0])
    other.PatientID = "SOMEBODY-ELSE"
    other.SOPInstanceUID = other.file_meta.MediaStorageSOPInstanceUID = generate_uid(None)
    other.save_as(files[0].with_suffix(".other"))
    orthanc.upload([files[0].with_suffix(".other")])
    orthanc.forward(study)
    study_uid = str(other.StudyInstanceUID)
    told = wait_for(
        "the study to be held",
        lambda: (now := node.studies().get(study_uid)) and now["state"] == "held" and now,
    )
    assert told["error"] == "orthanc has it under another patient ID"
    assert len(orthanc.instances(study)) == len(files)


def test_a_late_image_is_answered_with_a_second_report_set_beside_the_first(
    orthanc_node: tuple[Orthanc, Node], exam: Exam
) -> None:
    orthanc, node = orthanc_node
    files = exam("late")
    study = orthanc.upload(files)
    orthanc.forward(study)
    first = _wait_for_results(orthanc, study)
    orthanc.upload([_repeat_of(files[0])])
    orthanc.forward(study)
    both = _wait_for_results(orthanc, study, images=5, count=2 * RESULTS + 1)
    assert first.items() <= both.items()
    reports = sorted(
        (result for result in both.values() if result.Modality == "SR"),
        key=lambda report: report.InstanceNumber,
    )
    assert len(reports) == 2
    assert len({report.SeriesInstanceUID for report in reports}) == 1
    [page] = [
        dcmtk("dsr2html", orthanc.folder / f"{identifier}.dcm")
        for identifier, result in both.items()
        if result.SOPInstanceUID == reports[1].SOPInstanceUID
    ]
    assert "Version 2, replaces that of" in page
    assert _told(node, first)["version"] == 2


def test_real_mammograms_are_measured_and_marked(
    orthanc_node: tuple[Orthanc, Node], tmp_path: Path
) -> None:
    orthanc, node = orthanc_node
    real, *_ = exams.write_exams(tmp_path / "films", exams.fresh_run(), exams.find_films())
    study = orthanc.upload([path for _, paths in real.bursts for path in paths])
    orthanc.forward(study)
    results = _wait_for_results(orthanc, study)
    assert {str(result.PatientID) for result in results.values()} == {real.plan.patient.patient_id}
    [told] = node.studies().values()
    assert sorted(told["views"]) == ["L CC", "L MLO", "R CC", "R MLO"]


def test_orthanc_answers_an_echo_of_the_node_s_ae_title_only(
    orthanc_node: tuple[Orthanc, Node],
) -> None:
    orthanc, _ = orthanc_node
    address = ("-aec", orthanc.ae_title, "127.0.0.1", str(orthanc.port))
    dcmtk("echoscu", "-aet", NODE_AE, *address)
    dcmtk("echoscu", "-aet", MODALITY_AE, *address, ok=False)


def _repeat_of(file: Path) -> Path:
    """Write the same view once more, as a technologist repeats an exposure."""
    image = dcmread(file)
    image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid(None)
    image.InstanceNumber = 2
    image.save_as(file.with_suffix(".repeat"))
    return file.with_suffix(".repeat")


def _results(instances: dict[str, Dataset]) -> dict[str, Dataset]:
    return {key: one for key, one in instances.items() if one.SOPClassUID != MAMMOGRAM}


def _wait_for_results(
    orthanc: Orthanc, study: str, *, images: int = 4, count: int = RESULTS
) -> dict[str, Dataset]:
    """Wait until Orthanc holds so many results and return them, by Orthanc's identifiers."""

    def are_there() -> bool:
        held: int = orthanc.ask(f"/studies/{study}/statistics")["CountInstances"]
        return held >= images + count

    wait_for(f"{count} results in Orthanc", are_there)
    return _results(orthanc.instances(study))


def _done(node: Node, results: dict[str, Dataset]) -> dict[str, Any] | None:
    """Return what the node says of a study whose delivery is final."""
    told = _told(node, results)
    return told if told["state"] == "done" else None


def _told(node: Node, results: dict[str, Dataset]) -> dict[str, Any]:
    """Return what the node says of the study that results belong to."""
    study_uid = next(iter(results.values())).StudyInstanceUID
    return node.studies()[str(study_uid)]
