"""Rejection notes (IHE IOCM): which images must not be used any more, and why."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import factories
import pytest
from examples import examples
from highdicom.sr import CodeContentItem, CodedConcept, ContentItem, RelationshipTypeValues
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import Dataset

from node.dicom.header import read_header
from node.dicom.rejection_note import TITLES, RejectedObject, RejectionNote, read_rejection_note
from node.errors import Unreadable

EXAM = factories.exam()
OTHER = factories.exam("other")
MEANINGS = {**TITLES, "113000": "Of Interest"}


def written(rejected: Sequence[Dataset], title: str = "113001") -> Dataset:
    return factories.rejection_note(rejected, title, MEANINGS[title])


def modifier(code: str, meaning: str) -> ContentItem:
    """Return a Document Title Modifier (PS3.16 TID 2010)."""
    return CodeContentItem(
        CodedConcept("113011", "DCM", "Document Title Modifier"),
        CodedConcept(code, "DCM", meaning),
        RelationshipTypeValues.HAS_CONCEPT_MOD,
    )


def read(note: Dataset, folder: Path) -> RejectionNote | None:
    note.save_as(folder / "note.dcm", enforce_file_format=True)
    return read_rejection_note(read_header(folder / "note.dcm"))


def reference(dataset: Dataset) -> RejectedObject:
    return RejectedObject(
        str(dataset.StudyInstanceUID),
        str(dataset.SeriesInstanceUID),
        str(dataset.SOPInstanceUID),
        str(dataset.SOPClassUID),
    )


@pytest.mark.parametrize("code", TITLES)
def test_a_rejection_note_says_why_and_what(code: str, tmp_path: Path) -> None:
    document = written(EXAM[:2], code)
    note = read(document, tmp_path)
    assert note is not None
    assert (note.code, note.words) == (code, TITLES[code])
    assert note.references == tuple(reference(dataset) for dataset in EXAM[:2])
    assert (note.sop_uid, note.study_uid) == (document.SOPInstanceUID, document.StudyInstanceUID)


def test_a_quality_reason_is_part_of_the_words(tmp_path: Path) -> None:
    document = written(EXAM[:1])
    document.ContentSequence.insert(0, modifier("111210", "Motion blur"))
    note = read(document, tmp_path)
    assert note is not None
    assert note.modifiers == ("motion blur",)
    assert note.words == "Rejected for Quality Reasons (motion blur)"


def test_a_note_may_reject_images_of_several_studies(tmp_path: Path) -> None:
    document = written(EXAM, "113037")
    (of_other,) = written(OTHER, "113037").CurrentRequestedProcedureEvidenceSequence
    document.CurrentRequestedProcedureEvidenceSequence.append(of_other)
    note = read(document, tmp_path)
    assert note is not None
    assert note.references == tuple(reference(dataset) for dataset in [*EXAM, *OTHER])


def test_a_key_image_note_and_an_image_reject_nothing(tmp_path: Path) -> None:
    assert read(written(EXAM, "113000"), tmp_path) is None
    assert read(EXAM[0], tmp_path) is None


def test_a_title_of_another_coding_scheme_rejects_nothing(tmp_path: Path) -> None:
    note = written(EXAM)
    note.ConceptNameCodeSequence[0].CodingSchemeDesignator = "99SITE"
    assert read(note, tmp_path) is None


def test_an_image_named_twice_is_rejected_once(tmp_path: Path) -> None:
    document = written(EXAM[:2])
    evidence = document.CurrentRequestedProcedureEvidenceSequence
    evidence.append(evidence[0])
    note = read(document, tmp_path)
    assert note is not None
    assert note.references == (reference(EXAM[0]), reference(EXAM[1]))


def test_the_evidence_counts_whatever_the_content_tree_refers_to(tmp_path: Path) -> None:
    note = written(EXAM[:2])
    note.ContentSequence = []
    found = read(note, tmp_path)
    assert found is not None
    assert found.references == tuple(reference(dataset) for dataset in EXAM[:2])


def test_a_note_that_identifies_nothing_rejects_nothing_and_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    note = written(EXAM[:1])
    del note.CurrentRequestedProcedureEvidenceSequence
    assert read(note, tmp_path) is None
    assert "rejects nothing that can be identified" in caplog.text
    assert "MAMMOGRAM" not in caplog.text


def test_what_a_note_identifies_is_rejected_beside_what_it_does_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    note = written(EXAM[:2])
    series = note.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    del series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
    found = read(note, tmp_path)
    assert found is not None
    assert found.references == (reference(EXAM[1]),)
    assert "names objects that it does not identify" in caplog.text


def test_names_that_are_no_uids_are_not_taken_over(tmp_path: Path) -> None:
    note = written(EXAM[:1])
    found = read(note, tmp_path)
    assert found is not None
    content = (tmp_path / "note.dcm").read_bytes()
    uid = found.references[0].sop_uid.encode()
    (tmp_path / "note.dcm").write_bytes(content.replace(uid, b"../" + uid[3:]))
    assert read_rejection_note(read_header(tmp_path / "note.dcm")) is None


@given(st.data())
@settings(max_examples=examples(200), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_note_rejects_less_or_nothing_and_raises_nothing(
    tmp_path: Path, data: st.DataObject
) -> None:
    document = written(EXAM[:2])
    document.ContentSequence.insert(0, modifier("111209", "Positioning"))
    read(document, tmp_path)
    content = bytearray((tmp_path / "note.dcm").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(132, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged.dcm"
    path.write_bytes(bytes(content[: data.draw(st.integers(200, len(content)))]))
    try:
        header = read_header(path)
    except Unreadable:
        return
    note = read_rejection_note(header)
    if note is not None:
        assert note.words
        assert all(reference.sop_uid for reference in note.references)
