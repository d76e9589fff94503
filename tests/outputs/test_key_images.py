"""The images that bear findings are flagged, those and no others."""

from __future__ import annotations

from dataclasses import replace

import pytest
from factories import R_CC, R_MLO
from pydicom import Dataset
from pydicom.uid import KeyObjectSelectionDocumentStorage

from node.outputs import key_images, verbatim, wording
from node.outputs.case import Draft, Predecessor
from node.outputs.report_set import to_bytes
from node.trial import phantom
from outputs.drafts import (
    as_version_2,
    detected,
    draft,
    graded,
    reread,
    scored,
    segmented,
    with_bytes,
    with_result,
)

EXAM = draft()
FOUND = detected(EXAM)


def documents(made: Draft) -> list[Dataset]:
    return [reread(dataset) for dataset in key_images.build(made)]


def document(made: Draft) -> Dataset:
    (dataset,) = documents(made)
    return dataset


def selected(dataset: Dataset) -> list[str]:
    return [
        str(item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
        for item in dataset.ContentSequence
        if item.ValueType == "IMAGE"
    ]


def named(dataset: Dataset, code_value: str) -> Dataset:
    found: list[Dataset] = [
        item
        for item in dataset.ContentSequence
        if "ConceptNameCodeSequence" in item
        and item.ConceptNameCodeSequence[0].CodeValue == code_value
    ]
    (item,) = found
    return item


def description(dataset: Dataset) -> str:
    return str(named(dataset, "113012").TextValue)


def test_it_is_a_key_object_selection_of_interest() -> None:
    dataset = document(FOUND)
    assert dataset.SOPClassUID == KeyObjectSelectionDocumentStorage
    assert (dataset.Modality, dataset.SeriesNumber) == ("KO", 9006)
    assert dataset.SeriesDescription == "AI Mass Detector Key Images - AI generated"
    (title,) = dataset.ConceptNameCodeSequence
    assert (title.CodeValue, title.CodingSchemeDesignator) == ("113000", "DCM")
    assert title.CodeMeaning == "Of Interest"
    assert dataset.ContentTemplateSequence[0].TemplateIdentifier == "2010"
    assert dataset.ContentTemplateSequence[0].MappingResource == "DCMR"
    assert (dataset.ValueType, dataset.ContinuityOfContent) == ("CONTAINER", "SEPARATE")


def test_it_has_nothing_that_only_reports_have() -> None:
    replaced = Predecessor("2.25.11", KeyObjectSelectionDocumentStorage, "2.25.12")
    later = replace(
        as_version_2(FOUND),
        predecessors={("mass-detector", "key-images"): replaced},
    )
    for dataset in (document(FOUND), document(later)):
        for keyword in key_images.REPORTS_ONLY:
            assert keyword not in dataset
        assert not dataset.ReferencedPerformedProcedureStepSequence


def test_it_selects_each_image_with_findings_once() -> None:
    first = FOUND.results[0].findings[0]
    again = replace(first, label="R CC mass 2")
    made = with_result(FOUND, findings=(*FOUND.results[0].findings, again))
    wanted = [finding.region.sop_uid for finding in FOUND.results[0].findings]
    assert len(wanted) == 3
    dataset = document(made)
    assert selected(dataset) == wanted
    for item in dataset.ContentSequence:
        if item.ValueType == "IMAGE":
            assert item.RelationshipType == "CONTAINS"
            assert "ConceptNameCodeSequence" not in item
            (reference,) = item.ReferencedSOPSequence
            instance = FOUND.instance(reference.ReferencedSOPInstanceUID)
            assert reference.ReferencedSOPClassUID == instance.sop_class


def test_findings_are_called_by_the_numbers_of_the_captures() -> None:
    said = description(document(FOUND))
    for line in ("1: R CC mass 87 %.", "2: L CC mass 56 %.", "1: R MLO mass 91 %."):
        assert line in said


def test_evidence_is_the_selection_and_no_more() -> None:
    dataset = document(detected(draft(refuse={R_MLO: "the view is magnified"})))
    (study,) = dataset.CurrentRequestedProcedureEvidenceSequence
    assert study.StudyInstanceUID == dataset.StudyInstanceUID
    listed = {
        reference.ReferencedSOPInstanceUID: series.SeriesInstanceUID
        for series in study.ReferencedSeriesSequence
        for reference in series.ReferencedSOPSequence
    }
    assert len(listed) == 2
    assert set(listed) == set(selected(dataset))
    for sop_uid, series_uid in listed.items():
        assert series_uid == FOUND.instance(sop_uid).series_uid


@pytest.mark.parametrize(
    "made",
    [
        EXAM,
        graded(EXAM),
        scored(EXAM),
        with_result(FOUND, findings=()),
        draft(refuse=dict.fromkeys(phantom.EXAM, "the images are For Processing")),
    ],
    ids=["measured", "graded", "scored", "nothing found", "not analysed"],
)
def test_there_is_none_where_nothing_was_looked_for_and_found(made: Draft) -> None:
    assert key_images.build(made) == []


def test_the_description_says_what_was_found_by_whom_and_what_it_is_worth() -> None:
    said = description(document(FOUND))
    assert said.startswith(wording.conclusion(FOUND.results[0]))
    for words in (
        "R CC mass 87 %.",
        "L CC mass 56 %.",
        "R MLO mass 91 %.",
        "AI generated. Not verified by a physician.",
        "For research use only.",
        "Mass Detector 1.0.0",
        "weights 1a2b3c4d5e6f",
    ):
        assert words in said
    assert said.isascii()


def test_the_observer_is_the_algorithm() -> None:
    dataset = document(FOUND)
    assert named(dataset, "121005").ConceptCodeSequence[0].CodeValue == "121007"
    assert FOUND.results[0].model.device_uid == named(dataset, "121012").UID
    assert named(dataset, "121013").TextValue == "Mass Detector"
    assert named(dataset, "121014").TextValue == "DICOM AI Node Project"
    for code_value in ("121005", "121012", "121013", "121014", "121015"):
        assert named(dataset, code_value).RelationshipType == "HAS OBS CONTEXT"


def test_what_was_not_analysed_is_said() -> None:
    dataset = document(detected(draft(refuse={R_MLO: "the view is magnified"})))
    assert "Not analysed: R MLO: the view is magnified." in description(dataset)
    assert len(selected(dataset)) == 2


def test_version_2_says_so_in_the_same_series() -> None:
    dataset, before = document(as_version_2(FOUND)), document(FOUND)
    assert "Version 2, replaces that of 08:42." in description(dataset)
    assert dataset.InstanceNumber == 1001
    assert dataset.SeriesInstanceUID == before.SeriesInstanceUID
    assert dataset.SOPInstanceUID != before.SOPInstanceUID


def test_each_model_that_found_something_selects_for_itself() -> None:
    results = (FOUND.results[0], EXAM.results[0], segmented(EXAM).results[0])
    made = documents(replace(FOUND, results=results))
    assert [len(selected(dataset)) for dataset in made] == [3, 4]
    assert len({dataset.SeriesInstanceUID for dataset in made}) == 2
    assert "Mass Segmenter" in description(made[1])


def test_the_same_draft_gives_the_same_bytes() -> None:
    first, second = ([to_bytes(d) for d in key_images.build(FOUND)] for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        (b"ISO_IR 100", "Müller^Jürgen".encode("latin-1")),
        (b"\\ISO 2022 IR 149", b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7"),
    ],
    ids=["Latin-1", "Korean"],
)
def test_names_are_written_as_the_bytes_they_came_in(charset: bytes, name: bytes) -> None:
    made = with_bytes(detected(draft([R_CC])), SpecificCharacterSet=charset, PatientName=name)
    dataset = document(made)
    assert verbatim.value_bytes(dataset, "SpecificCharacterSet") == charset
    assert verbatim.value_bytes(dataset, "PatientName") == name
    assert "R CC mass 87 %." in description(dataset)
