"""The report is what viewers want to see, and says exactly what the result says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import factories
import numpy as np
import pytest
from examples import examples
from factories import L_CC, L_MLO, R_CC, R_MLO
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.uid import Comprehensive3DSRStorage, ComprehensiveSRStorage

from node.outputs import measurement_report
from node.outputs.case import Draft, Predecessor
from node.result import Code, Evaluation, Grade, Measurement, Region
from node.study import Laterality
from node.trial import phantom
from outputs.drafts import (
    AI_SCORE,
    AREA,
    CM2,
    COMPOSITION,
    PERCENT,
    as_version_2,
    detected,
    draft,
    graded,
    items,
    reread,
    scored,
    segmented,
    with_damaged,
    with_result,
)

EXAM = draft()


def report(made: Draft) -> Dataset:
    (dataset,) = measurement_report.build(made)
    return reread(dataset)


@cache
def report_of(case: str) -> Dataset:
    """Return the report of a case, which nobody changes."""
    return report(CASES[case])


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


def test_an_object_refused_as_damaged_makes_the_report_partial_as_a_refused_image_does() -> None:
    for made in (EXAM, graded(EXAM)):
        dataset = report(with_damaged(made))
        assert dataset.CompletionFlag == "PARTIAL"
        assert dataset.CompletionFlagDescription == "Some objects were refused as damaged"
        assert "Not analysed: 1 object refused as damaged." in impression(dataset)
        assert report(made).CompletionFlag == "COMPLETE"


def test_a_measurement_says_neither_with_nor_without_findings() -> None:
    assert not items(report(EXAM), "CODE", "111017")


def test_the_impression_is_honest() -> None:
    said = impression(report(as_version_2(EXAM)))
    for words in (
        "AI generated. Not verified by a physician.",
        "For research use only.",
        "It says nothing about disease.",
        "Version 2, replaces that of 08:42.",
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
        replace(as_version_2(EXAM), predecessors={("breast-area", "measurement-report"): replaced})
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


def with_grades(made: Draft) -> Draft:
    """Return the draft with the grades of the exam besides what it marks and measures."""
    more = graded(made).results[0].evaluations
    return with_result(made, evaluations=(*made.results[0].evaluations, *more))


CASES = {
    "areas": EXAM,
    "areas and grades": with_grades(EXAM),
    "boxes": detected(EXAM),
    "outlines": segmented(EXAM),
    "scores": scored(EXAM),
    "grades": graded(EXAM),
    "nothing found": with_result(detected(EXAM), findings=()),
    "version 2, partly": as_version_2(scored(draft(refuse={R_MLO: "the view is magnified"}))),
    "not analysed": draft([R_CC], refuse={R_CC: "implant"}),
}


def code(item: Dataset) -> tuple[str, str, str]:
    return item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning


def plain(said: Code) -> tuple[str, str, str]:
    return said.value, said.scheme, said.meaning


def said_of(item: Dataset) -> tuple[object, ...]:
    """Read what a NUM or CODE item is about: whose name, which side, which images, by whom."""
    own: dict[str, list[Dataset]] = {}
    for child in item.ContentSequence:
        own.setdefault(child.ConceptNameCodeSequence[0].CodeValue, []).append(child)
    (name,) = own.get("121050", []) + own.get("112039", [])
    sides = [
        modifier.ConceptCodeSequence[0].CodeMeaning
        for place in own.get("363698007", [])
        for modifier in place.ContentSequence
    ]
    images = {image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for image in own["121112"]}
    (by,), (version,) = own["111001"], own["111003"]
    return (name.TextValue, sides, images, by.TextValue, version.TextValue)


def numbers_read(dataset: Dataset) -> list[tuple[object, ...]]:
    """Read every number without a place from a report of either form."""
    places = items(dataset, "CONTAINER", "121070") or items(dataset, "CONTAINER", "126011")
    return [
        (
            *said_of(item),
            code(item.ConceptNameCodeSequence[0]),
            str(item.MeasuredValueSequence[0].NumericValue),
            code(item.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0]),
        )
        for place in places
        for item in items(place, "NUM")
    ]


def numbers_said(made: Draft) -> list[tuple[object, ...]]:
    side = {Laterality.RIGHT: ["Right"], Laterality.LEFT: ["Left"], Laterality.BOTH: ["Bilateral"]}
    result = made.results[0]
    return [
        (
            e.label,
            side[e.laterality] if e.laterality else [],
            set(e.sop_uids),
            result.model.title,
            result.model.version,
            plain(m.concept),
            f"{m.value:.{m.decimals}f}",
            plain(m.unit),
        )
        for e in result.evaluations
        for m in e.measurements
    ]


def grades_read(dataset: Dataset) -> list[tuple[object, ...]]:
    """Read every grade: whose, of what, which."""
    places = items(dataset, "CONTAINER", "121070") or items(dataset, "CONTAINER", "C0034375")
    return [
        (
            items(item, "TEXT", "121050")[0].TextValue,
            code(item.ConceptNameCodeSequence[0]),
            code(item.ConceptCodeSequence[0]),
        )
        for place in places
        for item in place.ContentSequence
        if item.ValueType == "CODE"
    ]


def grades_said(made: Draft) -> list[tuple[object, ...]]:
    return [
        (e.label, plain(e.grade.concept), plain(e.grade.value))
        for e in made.results[0].evaluations
        if e.grade is not None
    ]


@pytest.mark.parametrize("case", CASES)
def test_every_number_and_grade_without_a_place_is_read_back(case: str) -> None:
    dataset = report_of(case)
    assert numbers_read(dataset) == numbers_said(CASES[case])
    assert grades_read(dataset) == grades_said(CASES[case])


def test_the_numbers_of_a_text_report_follow_their_words() -> None:
    (findings,) = items(report(scored(EXAM)), "CONTAINER", "121070")
    assert [i.ValueType for i in findings.ContentSequence] == ["TEXT"] * 7 + ["NUM"] * 7
    assert findings.ContentSequence[1].TextValue == "R breast AI score, AI score: 52 %"


def test_a_grade_is_inferred_from_its_probabilities() -> None:
    (findings,) = items(report(graded(EXAM)), "CONTAINER", "121070")
    grades = [i for i in findings.ContentSequence if i.ValueType == "CODE"]
    for grade in grades:
        inferred = [i for i in grade.ContentSequence if i.RelationshipType == "INFERRED FROM"]
        assert [i.ValueType for i in inferred] == ["NUM"] * 3
    assert len(grades) == 3


def test_a_text_report_without_numbers_has_no_findings() -> None:
    assert not items(report_of("nothing found"), "CONTAINER", "121070")


ALLOWED = {
    "CONTAINS": ({"CONTAINER"}, {"TEXT", "CODE", "NUM", "SCOORD", "IMAGE", "CONTAINER"}),
    "HAS OBS CONTEXT": ({"CONTAINER", "TEXT", "CODE", "NUM"}, {"TEXT", "CODE", "UIDREF"}),
    "HAS ACQ CONTEXT": ({"CONTAINER", "IMAGE", "NUM"}, {"TEXT", "CODE", "NUM"}),
    "HAS CONCEPT MOD": ({"CONTAINER", "TEXT", "CODE", "NUM", "IMAGE"}, {"TEXT", "CODE"}),
    "INFERRED FROM": ({"TEXT", "CODE", "NUM"}, {"TEXT", "CODE", "NUM", "IMAGE", "SCOORD"}),
    "SELECTED FROM": ({"SCOORD"}, {"IMAGE"}),
}
"""Relationship, sources and targets (PS3.3 A.35.3-2), of the value types we use."""


def relationships(item: Dataset) -> Iterator[tuple[str, str, str]]:
    for child in item.get("ContentSequence", []):
        yield child.RelationshipType, item.ValueType, child.ValueType
        yield from relationships(child)


@pytest.mark.parametrize("case", CASES)
def test_every_relationship_is_one_of_a_comprehensive_sr(case: str) -> None:
    for relationship, source, target in relationships(report_of(case)):
        sources, targets = ALLOWED[relationship]
        assert (source in sources, target in targets) == (True, True), (relationship, source)


@pytest.mark.parametrize("case", ["scores", "grades", "nothing found", "not analysed"])
def test_in_a_text_report_only_the_observer_is_observation_context(case: str) -> None:
    """TID 2000 allows no other, so what a number is of is said by a concept modifier."""
    dataset = report_of(case)
    assert dataset.ConceptNameCodeSequence[0].CodeValue != "126000"
    for section in items(dataset, "CONTAINER"):
        assert all(i.RelationshipType != "HAS OBS CONTEXT" for i in items(section))


def test_a_finding_bears_the_number_of_the_captures_and_so_does_its_other_view() -> None:
    found = groups(report(detected(EXAM)))
    names = [str(items(g, "TEXT", "112039")[0].TextValue) for g in found]
    assert names == ["1: R CC mass", "2: L CC mass", "1: R MLO mass"]
    assert len({items(g, "UIDREF", "112040")[0].UID for g in found}) == 3


def test_a_probability_of_cancer_is_in_percent() -> None:
    """Viewers print the unit as it is written: "Probability of cancer 87.00 %"."""
    for group, finding in zip(
        groups(report(detected(EXAM))), detected(EXAM).results[0].findings, strict=True
    ):
        (item,) = items(group, "NUM", "111047")
        assert finding.score is not None
        assert item.MeasuredValueSequence[0].NumericValue == round(finding.score.value)
        unit = item.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0]
        assert (unit.CodeValue, unit.CodingSchemeDesignator) == ("%", "UCUM")


@pytest.mark.parametrize("case", CASES)
def test_the_report_in_3d_is_the_same_tree(case: str) -> None:
    (flat,), (solid,) = (
        [reread(d) for d in build(CASES[case])]
        for build in (measurement_report.build, measurement_report.build_3d)
    )
    assert solid.SOPClassUID == Comprehensive3DSRStorage
    assert solid.SeriesNumber == 9012
    for keyword in (
        "ContentSequence",
        "ConceptNameCodeSequence",
        "ContentTemplateSequence",
        "CurrentRequestedProcedureEvidenceSequence",
    ):
        assert solid.get(keyword) == flat.get(keyword)
    assert solid.SOPInstanceUID != flat.SOPInstanceUID
    assert solid.SeriesInstanceUID != flat.SeriesInstanceUID


@pytest.mark.parametrize("case", CASES)
def test_the_algorithm_is_the_same_wherever_it_is_named(case: str) -> None:
    """IHE AIR 6.5.3.1: contributing equipment, observer and algorithm agree."""
    (dataset,) = (reread(d) for d in measurement_report.build_3d(CASES[case]))
    (equipment,) = (
        item
        for item in dataset.ContributingEquipmentSequence
        if item.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"
    )

    def every(value_type: str, name: str) -> set[str]:
        found = items(dataset, value_type, name)
        return {str(i.UID if value_type == "UIDREF" else i.TextValue) for i in found}

    assert every("TEXT", "121014") == {equipment.Manufacturer}
    assert every("TEXT", "121015") == {equipment.ManufacturerModelName}
    assert every("UIDREF", "121012") == {equipment.DeviceUID}
    assert every("TEXT", "111001") <= {equipment.ManufacturerModelName}
    assert every("TEXT", "111003") <= {equipment.SoftwareVersions}
    assert bool(every("TEXT", "111001")) == bool(items(dataset, "NUM"))
    (author,) = dataset.AuthorObserverSequence
    assert (author.Manufacturer, author.DeviceUID) == (equipment.Manufacturer, equipment.DeviceUID)


COORDINATE = st.floats(0, 5000, width=32)
LABELS = st.text("abc RL19", min_size=1, max_size=80).map(lambda t: " ".join(t.split()) or "x")
MEASUREMENTS = st.builds(
    Measurement,
    concept=st.sampled_from([AI_SCORE, AREA]),
    value=st.floats(-1e6, 1e6),
    unit=st.sampled_from([PERCENT, CM2]),
    decimals=st.integers(0, 4),
)
EVALUATIONS = st.builds(
    Evaluation,
    label=LABELS,
    sop_uids=st.lists(
        st.sampled_from(EXAM.results[0].analysed), min_size=1, max_size=4, unique=True
    ).map(tuple),
    measurements=st.lists(MEASUREMENTS, min_size=1, max_size=3).map(tuple),
    laterality=st.none() | st.sampled_from(Laterality),
    grade=st.none()
    | st.builds(
        Grade, st.just(COMPOSITION), st.builds(Code, LABELS, st.just("99AINODE"), LABELS)
    ).filter(lambda grade: len(grade.value.value) <= 16 and len(grade.value.meaning) <= 64),
)


@settings(max_examples=examples(25), suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(EVALUATIONS, max_size=4), st.booleans())
def test_whatever_is_evaluated_is_read_back(evaluations: list[Evaluation], marked: bool) -> None:
    findings = EXAM.results[0].findings if marked else ()
    made = with_result(EXAM, evaluations=tuple(evaluations), findings=findings)
    dataset = report(made)
    assert numbers_read(dataset) == numbers_said(made)
    assert grades_read(dataset) == grades_said(made)


VIEWS = st.sampled_from([R_CC, L_CC, R_MLO, L_MLO])


@settings(max_examples=examples(30), suppress_health_check=[HealthCheck.too_slow])
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
