"""The last look at an object before it may leave."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import factories
import pytest
from factories import L_CC, R_CC, R_MLO
from pydicom import Dataset
from pydicom.datadict import dictionary_description
from pydicom.dataelem import RawDataElement

from node.errors import Held
from node.kinds import KINDS, SUBSTITUTES, with_substitutes
from node.outputs import verbatim
from node.outputs.case import Draft
from node.outputs.guard import check
from node.outputs.report_set import build_report_set
from node.study import Laterality
from outputs.drafts import as_read, draft, graded, report_set, segmented, with_bytes, with_result


def test_every_kind_that_there_is_is_built_as_its_line_in_the_table_says() -> None:
    made = segmented(draft())
    assert {built.kind for built in build_report_set(made, KINDS)} == set(KINDS)
    for built in build_report_set(made, KINDS):
        assert built.dataset.SOPClassUID == KINDS[built.kind].sop_class


def test_a_kind_that_needs_nothing_of_a_result_says_not_analysed_too_and_no_other_does() -> None:
    exam = draft()
    silent = with_result(exam, analysed=(), findings=(), refused=(), reason="it was given up")
    answering = {name for name, kind in KINDS.items() if kind.always_answers}
    assert {built.kind for built in build_report_set(silent, KINDS)} == answering


def test_what_stands_in_for_a_kind_always_answers() -> None:
    assert SUBSTITUTES == {"measurement-report-3d": "measurement-report"}
    assert all(KINDS[kind].always_answers for kind in SUBSTITUTES.values())


def test_what_may_have_to_stand_in_is_built_too() -> None:
    assert with_substitutes(["measurement-report-3d", "capture"]) == (
        "measurement-report-3d",
        "capture",
        "measurement-report",
    )


def test_a_result_for_another_study_is_held() -> None:
    made = draft([R_CC])
    with pytest.raises(Held, match="another study"):
        report_set(replace(made, version=replace(made.version, study_uid="2.25.77")))


@pytest.mark.parametrize("keyword", ["PatientID", "PatientName", "AccessionNumber"])
def test_a_result_of_another_patient_is_held(keyword: str) -> None:
    made = draft([R_CC])
    dataset = report_set(made, ["measurement-report"])[0]
    setattr(dataset, keyword, "SOMEBODY ELSE")
    with pytest.raises(Held, match=keyword):
        check(made, dataset)


def set_bytes(made: Draft, index: int, keyword: str, value: bytes) -> None:
    source = made.headers[made.version.instances[index].sop_uid]
    tag = verbatim.tag_of(keyword)
    source[tag] = RawDataElement(tag, "LO", len(value), value, 0, False, True)


@pytest.mark.parametrize("keyword", ["PatientID", "IssuerOfPatientID", "AccessionNumber"])
def test_instances_that_disagree_about_the_patient_are_held(keyword: str) -> None:
    made = draft([R_CC, L_CC])
    set_bytes(made, 0, keyword, b"ONE ")
    set_bytes(made, 1, keyword, b"OTHER ")
    with pytest.raises(Held, match=f"disagree about {dictionary_description(keyword)};"):
        report_set(made)


@pytest.mark.parametrize("value", [b"", b" \0", b" ONE\0", b"ONE   "])
def test_padding_and_what_is_not_said_contradict_nothing(value: bytes) -> None:
    made = draft([R_CC, L_CC])
    set_bytes(made, 0, "IssuerOfPatientID", b"ONE")
    set_bytes(made, 1, "IssuerOfPatientID", value)
    assert report_set(made, ["measurement-report"])


def test_a_rejection_note_bears_the_identity_of_what_it_rejects() -> None:
    made = draft([R_CC, L_CC])
    note = factories.rejection_note(factories.exam(views=[R_MLO]))
    note.PatientID = "SOMEBODY ELSE"
    for index in (0, 1):
        set_bytes(made, index, "PatientID", b"")
    headers = {**made.headers, str(note.SOPInstanceUID): as_read(note)}
    of_note = replace(made.version.instances[0], sop_uid=str(note.SOPInstanceUID), view=None)
    version = replace(made.version, instances=(*made.version.instances, of_note))
    noted = replace(made, headers=headers, version=version)
    (report,) = report_set(noted, ["measurement-report"])
    assert report.PatientID == ""


def test_who_has_no_patient_id_is_not_asked_for_the_name() -> None:
    made = draft([R_CC, L_CC])
    set_bytes(made, 1, "PatientID", b"")  # the latest, whose header would be copied
    (report,) = report_set(made, ["measurement-report"])
    assert report.PatientID == made.headers[made.version.instances[0].sop_uid].PatientID != ""


def test_two_that_agree_with_one_who_says_less_may_still_disagree() -> None:
    made = draft([R_CC, L_CC, R_MLO])
    for index, value in enumerate((b"ONE", b"", b"OTHER")):
        set_bytes(made, index, "AccessionNumber", value)
    with pytest.raises(Held, match="disagree"):
        report_set(made, ["measurement-report"])


def test_a_reference_to_an_image_of_another_study_is_held() -> None:
    made = draft([R_CC])
    for dataset in report_set(made):
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


def test_a_mark_on_one_side_that_names_the_other_is_held() -> None:
    made = draft([R_CC])
    (finding,) = made.results[0].findings
    wrong = replace(finding, laterality=Laterality.LEFT)
    with pytest.raises(Held, match="marks one side and names the other"):
        report_set(with_result(made, findings=(wrong,)))


def test_a_number_of_one_side_that_names_the_other_is_held() -> None:
    made = graded(draft([R_CC]))
    with pytest.raises(Held, match="read one side and names the other"):
        report_set(made)  # its grade of the left breast is of no left image


@pytest.mark.parametrize("point", [(-1.0, 5.0), (5.0, 1e6)])
def test_a_mark_outside_of_its_image_is_held(point: tuple[float, float]) -> None:
    made = draft([R_CC])
    (finding,) = made.results[0].findings
    outline = (point, *finding.region.outline[1:-1], point)
    wrong = replace(finding, region=replace(finding.region, outline=outline))
    with pytest.raises(Held, match="outside of its image"):
        report_set(with_result(made, findings=(wrong,)))


def test_checking_and_building_decode_nothing_of_the_source() -> None:
    made = with_bytes(draft([R_CC]), StudyDescription=b"\xff\xfe")
    report_set(made)
    assert isinstance(made.source.get_item("StudyDescription"), RawDataElement)


class Counting(dict[str, Dataset]):
    """Headers that count how often each is asked for."""

    def __init__(self, headers: Mapping[str, Dataset]) -> None:
        super().__init__(headers)
        self.asked: Counter[str] = Counter()

    def __getitem__(self, sop_uid: str) -> Dataset:
        self.asked[sop_uid] += 1
        return super().__getitem__(sop_uid)


def test_headers_are_gone_through_once_for_each_kind_of_object_and_not_for_each_use() -> None:
    made = draft([R_CC, L_CC])
    headers = Counting(made.headers)
    (unused,) = draft([R_MLO]).headers.values()
    instance = replace(made.version.instances[0], sop_uid="2.25.1", modality="PR")
    headers["2.25.1"] = unused
    instances = (instance, *made.version.instances)
    of_three = replace(made, version=replace(made.version, instances=instances), headers=headers)
    kinds: list[str] = ["measurement-report", "capture", "encapsulated-pdf"]
    assert report_set(of_three, kinds)
    assert headers.asked["2.25.1"] <= len(kinds)
