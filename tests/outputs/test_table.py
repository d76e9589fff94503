"""The last look at an object before it may leave."""

from __future__ import annotations

from dataclasses import replace

import pytest
from factories import L_CC, R_CC
from pydicom.dataelem import RawDataElement

from node.errors import ConfigError, Held
from node.outputs import verbatim
from node.outputs.table import build_report_set, check, kinds_of
from outputs.drafts import draft, with_bytes


def test_a_preset_names_its_kinds_once() -> None:
    assert kinds_of(["default", "capture"]) == ("measurement-report", "capture")


def test_an_unknown_kind_is_a_mistake_in_the_configuration() -> None:
    with pytest.raises(ConfigError, match="no output is called 'gsps'"):
        build_report_set(draft([R_CC]), ["gsps"])


def test_a_result_for_another_study_is_held() -> None:
    made = draft([R_CC])
    with pytest.raises(Held, match="another study"):
        build_report_set(replace(made, version=replace(made.version, study_uid="2.25.77")))


@pytest.mark.parametrize("keyword", ["PatientID", "PatientName", "AccessionNumber"])
def test_a_result_of_another_patient_is_held(keyword: str) -> None:
    made = draft([R_CC])
    dataset = build_report_set(made, ["measurement-report"])[0]
    setattr(dataset, keyword, "SOMEBODY ELSE")
    with pytest.raises(Held, match=keyword):
        check(made, dataset)


def test_instances_that_disagree_about_the_patient_are_held() -> None:
    made = draft([R_CC, L_CC])
    last = made.headers[made.version.instances[-1].sop_uid]
    tag = verbatim.tag_of("PatientID")
    last[tag] = RawDataElement(tag, "LO", 6, b"OTHER ", 0, False, True)
    with pytest.raises(Held, match="disagree about PatientID"):
        build_report_set(made)


def test_a_reference_to_an_image_of_another_study_is_held() -> None:
    made = draft([R_CC])
    for dataset in build_report_set(made):
        evidence = dataset.get("SourceImageSequence") or dataset.ContentSequence
        for element in evidence[-1].iterall():
            if element.keyword == "ReferencedSOPInstanceUID":
                element.value = "2.25.1"
        if dataset.Modality == "SR":
            study = dataset.CurrentRequestedProcedureEvidenceSequence[0]
            reference = study.ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
            reference.ReferencedSOPInstanceUID = "2.25.1"
        with pytest.raises(Held, match="image of another study"):
            check(made, dataset)


def test_checking_and_building_decode_nothing_of_the_source() -> None:
    made = with_bytes(draft([R_CC]), StudyDescription=b"\xff\xfe")
    build_report_set(made)
    assert isinstance(made.source.get_item("StudyDescription"), RawDataElement)
