"""The report is what viewers want to see, and says exactly what the result says."""

from __future__ import annotations

from dataclasses import replace

import factories
import numpy as np
import pytest
from factories import L_CC, L_MLO, R_CC, R_MLO
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.uid import ComprehensiveSRStorage

from node import phantom
from node.outputs import measurement_report
from node.outputs.draft import Draft, Predecessor
from node.result import Measurement, Region
from outputs.drafts import (
    AREA,
    CM2,
    as_version_2,
    draft,
    graded,
    items,
    reread,
    with_result,
)

EXAM = draft()


def report(made: Draft) -> Dataset:
    (dataset,) = measurement_report.build(made)
    return reread(dataset)


def groups(dataset: Dataset) -> list[Dataset]:
    return items(dataset, "CONTAINER", "125007")


def impression(dataset: Dataset) -> str:
    return " ".join(str(item.TextValue) for item in items(dataset, "TEXT", "121073"))


def test_it_is_an_unverified_preliminary_comprehensive_sr() -> None:
    dataset = report(EXAM)
    assert dataset.SOPClassUID == ComprehensiveSRStorage
    assert (dataset.VerificationFlag, dataset.PreliminaryFlag) == ("UNVERIFIED", "PRELIMINARY")
    assert (dataset.CompletionFlag, dataset.SeriesNumber) == ("COMPLETE", 9002)
    assert dataset.ConceptNameCodeSequence[0].CodeValue == "126000"
    assert dataset.ContentTemplateSequence[0].TemplateIdentifier == "1500"


def test_every_group_has_a_region_and_a_tracking_uid_of_its_own() -> None:
    """A group without coordinates leaves the whole report black in OHIF 3.13."""
    found = groups(report(EXAM))
    assert [g.ContentTemplateSequence[0].TemplateIdentifier for g in found] == ["1410"] * 4
    assert all(items(g, "SCOORD", "111030") for g in found)
    uids = {items(g, "UIDREF", "112040")[0].UID for g in found}
    assert len(uids) == 4


def test_what_several_images_say_together_stands_apart_with_its_images() -> None:
    (derived,) = items(report(EXAM), "CONTAINER", "126011")
    assert len(items(derived, "NUM")) == 2
    assert [len(items(n, "IMAGE", "121112")) for n in items(derived, "NUM")] == [2, 2]


def test_containers_are_separate_and_every_item_has_a_name() -> None:
    dataset = report(EXAM)
    for item in [dataset, *items(dataset)]:
        assert item.ConceptNameCodeSequence
        if item.ValueType == "CONTAINER":
            assert item.ContinuityOfContent == "SEPARATE"


def test_a_region_is_a_polyline_in_its_group_on_its_original_source() -> None:
    for group, finding in zip(groups(report(EXAM)), EXAM.results[0].findings, strict=False):
        (region,) = [i for i in group.ContentSequence if i.ValueType == "SCOORD"]
        assert (region.GraphicType, region.RelationshipType) == ("POLYLINE", "CONTAINS")
        (image,) = region.ContentSequence
        assert image.ConceptNameCodeSequence[0].CodeValue == "111040"
        assert image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == finding.region.sop_uid


def test_every_number_names_its_algorithm() -> None:
    for item in items(report(EXAM), "NUM"):
        assert [str(i.TextValue) for i in items(item, "TEXT")][-2:] == ["Breast Area", "1.0.0"]
        assert items(item, "CODE", "111000")[0].ConceptCodeSequence[0].CodeValue == "123110"


def test_the_library_says_side_and_view() -> None:
    library = items(report(EXAM), "CONTAINER", "126200")[0]
    said = [
        tuple(
            items(image, "CODE", name)[0].ConceptCodeSequence[0].CodeMeaning
            for name in ("111027", "111031")
        )
        for image in library.ContentSequence
    ]
    assert ("Left", "medio-lateral oblique") in said
    assert len(set(said)) == 4


def test_evidence_names_each_image_once() -> None:
    study = report(EXAM).CurrentRequestedProcedureEvidenceSequence[0]
    uids = [
        r.ReferencedSOPInstanceUID
        for series in study.ReferencedSeriesSequence
        for r in series.ReferencedSOPSequence
    ]
    assert sorted(uids) == sorted(i.sop_uid for i in EXAM.version.instances)


def test_private_codes_are_declared() -> None:
    dataset = report(EXAM)
    assert dataset.CodingSchemeIdentificationSequence[0].CodingSchemeDesignator == "99AINODE"
    without = with_result(EXAM, evaluations=())
    assert "CodingSchemeIdentificationSequence" not in report(without)


def test_refused_images_are_named_and_make_the_report_partial() -> None:
    dataset = report(draft(refuse={R_MLO: "the view is magnified"}))
    assert dataset.CompletionFlag == "PARTIAL"
    assert dataset.CompletionFlagDescription
    assert "Not analysed: R MLO: the view is magnified." in impression(dataset)


def test_a_measurement_says_neither_with_nor_without_findings() -> None:
    assert not items(report(EXAM), "CODE", "111017")


def test_the_impression_is_honest() -> None:
    said = impression(report(as_version_2(EXAM)))
    for words in (
        "AI generated. Not verified by a physician.",
        "For research use only.",
        "It says nothing about disease.",
        "Version 2, replaces that of 08:42.",
        "Priority: not assessed.",
        "4/4 views",
        "Breast Area 1.0.0",
        "weights 1a2b3c4d5e6f",
    ):
        assert words in said


def test_one_report_for_each_model_in_a_series_of_its_own() -> None:
    result = EXAM.results[0]
    other = replace(result, model=replace(result.model, name="other"))
    made = measurement_report.build(replace(EXAM, results=(result, other)))
    assert len({d.SeriesInstanceUID for d in made}) == len({d.SOPInstanceUID for d in made}) == 2


def test_without_a_region_it_is_a_text_report() -> None:
    dataset = report(graded(EXAM))
    assert dataset.ConceptNameCodeSequence[0].CodeValue == "18748-4"
    assert dataset.SOPClassUID == ComprehensiveSRStorage
    assert impression(dataset).startswith("Processed 4 images. ")
    lines = [str(item.TextValue) for item in items(dataset, "TEXT", "121071")]
    assert lines[:4] == [
        "Exam breast density, Breast composition: F: fatty",
        "Exam breast density, Probability of F: 72 %",
        "Exam breast density, Probability of G: 21 %",
        "Exam breast density, Probability of D: 7 %",
    ]
    assert lines[4] == "R breast density, Breast composition: F: fatty"
    assert dataset.SeriesInstanceUID == report(EXAM).SeriesInstanceUID


def test_a_study_not_analysed_says_so_with_every_reason() -> None:
    dataset = report(draft([R_CC, L_CC], refuse={R_CC: "implant", L_CC: "blurred"}))
    said = impression(dataset)
    assert said.startswith("NOT ANALYSED: implant; blurred.")
    assert "Not analysed: L CC: blurred." in said
    assert "AI generated." in said
    assert dataset.CompletionFlag == "PARTIAL"
    assert dataset.CurrentRequestedProcedureEvidenceSequence
    assert not items(dataset, "IMAGE")


def test_a_report_names_the_one_it_replaces() -> None:
    replaced = Predecessor("2.25.11", ComprehensiveSRStorage, "2.25.12")
    dataset = report(
        replace(
            as_version_2(EXAM), predecessors={("breast-area", ComprehensiveSRStorage): replaced}
        )
    )
    (study,) = dataset.PredecessorDocumentsSequence
    assert study.StudyInstanceUID == dataset.StudyInstanceUID
    (series,) = study.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == "2.25.11"
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == "2.25.12"
    assert "PredecessorDocumentsSequence" not in report(EXAM)


@pytest.mark.parametrize(("modality", "procedure"), [("MG", "71651007"), ("MR", "363679005")])
@pytest.mark.parametrize("has_regions", [True, False])
def test_the_procedure_is_that_of_the_source(
    modality: str, procedure: str, has_regions: bool
) -> None:
    made = draft([R_CC], change=lambda dataset: setattr(dataset, "Modality", modality))
    if not has_regions:
        made = with_result(made, findings=())
    (item,) = items(report(made), "CODE", "121058")
    assert item.ConceptCodeSequence[0].CodeValue == procedure


COORDINATE = st.floats(0, 5000, width=32)
VIEWS = st.sampled_from([R_CC, L_CC, R_MLO, L_MLO])


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(
    outline=st.lists(st.tuples(COORDINATE, COORDINATE), min_size=3, max_size=40),
    value=st.floats(-1e6, 1e6),
    decimals=st.integers(0, 4),
)
def test_numbers_and_coordinates_are_read_back_as_they_were_said(
    outline: list[tuple[float, float]], value: float, decimals: int
) -> None:
    first = EXAM.results[0].findings[0]
    closed = (*outline, outline[0])
    finding = replace(
        first,
        region=Region(first.region.sop_uid, closed),
        measurements=(Measurement(AREA, value, CM2, decimals),),
    )
    dataset = report(with_result(EXAM, findings=(finding,), evaluations=()))
    (region,) = items(dataset, "SCOORD")
    assert np.array_equal(np.reshape(region.GraphicData, (-1, 2)), np.asarray(closed))
    (number,) = items(dataset, "NUM")
    measured = number.MeasuredValueSequence[0]
    assert str(measured.NumericValue) == f"{value:.{decimals}f}"
    assert measured.MeasurementUnitsCodeSequence[0].CodeValue == "cm2"


def test_a_number_too_long_for_its_attribute_is_shortened_not_lost() -> None:
    first = EXAM.results[0].findings[0]
    measurement = Measurement(AREA, 123456789012.123456, CM2, 4)
    dataset = report(with_result(EXAM, findings=(replace(first, measurements=(measurement,)),)))
    written = str(items(dataset, "NUM")[0].MeasuredValueSequence[0].NumericValue)
    assert len(written) <= 16
    assert float(written) == round(123456789012.123456, 3)


def test_a_study_of_another_technique_builds_too() -> None:
    technique = phantom.Technique(rows=200, columns=160, spacing_mm=1.2)
    assert report(draft([R_CC], technique=technique))
    assert factories.SMALL.rows
