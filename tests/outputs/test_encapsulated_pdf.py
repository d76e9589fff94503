"""The document is the summary page, can be read by any program, and names no patient."""

from __future__ import annotations

import re
import zlib
from dataclasses import replace

import numpy as np
import pytest
from factories import R_CC, R_MLO
from pydicom import Dataset
from pydicom.uid import EncapsulatedPDFStorage

from node.outputs import encapsulated_pdf, summary_page, verbatim, wording
from node.outputs.case import Draft
from node.outputs.report_set import to_bytes
from node.result import Evaluation, Finding, Refusal
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
NOT_ANALYSED = draft(refuse=dict.fromkeys(phantom.EXAM, "the images are For Processing"))
LONG = "A sentence that goes on and on and says what the numbers are and what they are not. " * 9
CASES = {
    "measured": EXAM,
    "found": FOUND,
    "nothing found": with_result(FOUND, findings=()),
    "partly": detected(draft(refuse={R_MLO: "the view is magnified"})),
    "not analysed": NOT_ANALYSED,
    "graded": graded(EXAM),
    "scored": scored(EXAM),
    "version 2": as_version_2(FOUND),
    "several models": replace(FOUND, results=(FOUND.results[0], EXAM.results[0])),
    "much to say": with_result(
        EXAM, statements=(LONG,) * 9, refused=(Refusal("", "R MLO", "x" * 400),) * 40
    ),
}


@pytest.fixture(scope="module", params=list(CASES), ids=list(CASES))
def case(request: pytest.FixtureRequest) -> tuple[Draft, Dataset]:
    made = CASES[request.param]
    return made, document(made)


def document(made: Draft) -> Dataset:
    (dataset,) = encapsulated_pdf.build(made)
    return reread(dataset)


def objects(content: bytes) -> list[bytes]:
    """Return the objects of a PDF file, found as a reader finds them: from its end."""
    assert content.startswith(b"%PDF-1.")
    begin = int(content.rstrip().removesuffix(b"%%EOF").split(b"startxref")[-1])
    table = re.match(
        rb"xref\n0 (\d+)\n0{10} 65535 f \n((?:\d{10} 00000 n \n)*)trailer", content[begin:]
    )
    assert table is not None
    offsets = [int(entry.split()[0]) for entry in table[2].splitlines()]
    assert len(offsets) + 1 == int(table[1])
    found = []
    for number, (start, end) in enumerate(zip(offsets, [*offsets[1:], begin], strict=True), 1):
        head, tail = b"%d 0 obj\n" % number, b"\nendobj\n"
        assert content[start:end].startswith(head)
        assert content[start:end].endswith(tail)
        found.append(content[start + len(head) : end - len(tail)])
    return found


def stream(written: bytes) -> bytes:
    found = re.match(rb"<< .*?/Length (\d+) >>\nstream\n(.*)\nendstream$", written, re.DOTALL)
    assert found is not None
    assert len(found[2]) == int(found[1])
    return zlib.decompress(found[2])


def words(dataset: Dataset) -> str:
    """Return the text of the page, its lines joined by blanks."""
    drawing = stream(objects(dataset.EncapsulatedDocument)[3])
    lines = re.findall(rb"^\((.*)\) Tj T\*$", drawing, re.MULTILINE)
    return " ".join(re.sub(rb"\\(.)", rb"\1", line).decode("ascii") for line in lines)


def test_it_is_an_encapsulated_pdf_that_no_one_verified(case: tuple[Draft, Dataset]) -> None:
    made, dataset = case
    assert dataset.SOPClassUID == EncapsulatedPDFStorage
    assert (dataset.Modality, dataset.SeriesNumber) == ("DOC", 9007)
    assert dataset.MIMETypeOfEncapsulatedDocument == "application/pdf"
    assert dataset.BurnedInAnnotation == "NO"
    assert (dataset.ConversionType, dataset.VerificationFlag) == ("SYN", "UNVERIFIED")
    assert dataset.ContentQualification == "RESEARCH"
    (concept,) = dataset.ConceptNameCodeSequence
    assert (concept.CodeValue, concept.CodingSchemeDesignator) == ("18748-4", "LN")
    for result in made.results:
        assert f"{result.model.title} {result.model.version}" in dataset.DocumentTitle
    assert "AI generated. Not verified by a physician" in dataset.DocumentTitle


def test_the_page_is_that_of_the_capture_to_the_last_pixel(case: tuple[Draft, Dataset]) -> None:
    made, dataset = case
    content = dataset.EncapsulatedDocument
    assert dataset.EncapsulatedDocumentLength == len(content)
    assert len(content) % 2 == 0
    catalog, pages, page, _, image, _, _ = objects(content)
    assert b"/Pages 2 0 R" in catalog
    assert b"/Kids [3 0 R] /Count 1" in pages
    drawn = summary_page.draw_summary(made)
    rows, columns = drawn.shape[:2]
    assert b"/Width %d /Height %d" % (columns, rows) in image
    box = re.search(rb"/MediaBox \[0 0 (\d+) (\d+)\]", page)
    assert box is not None
    assert int(box[1]) / int(box[2]) == pytest.approx(columns / rows, rel=0.01)
    assert np.array_equal(np.frombuffer(stream(image), np.uint8), drawn.ravel())


def test_every_number_and_sentence_can_be_searched(case: tuple[Draft, Dataset]) -> None:
    made, dataset = case
    said = words(dataset)
    for result in made.results:
        for sentence in wording.sentences(made, result):
            assert " ".join(sentence.split()) in said
        subjects: tuple[Finding | Evaluation, ...] = (*result.findings, *result.evaluations)
        for measurement in (m for subject in subjects for m in subject.measurements):
            assert wording.quantity(measurement) in said


def test_text_that_is_not_drawn_stays_on_the_page(case: tuple[Draft, Dataset]) -> None:
    """Text beyond the page's edge is not found by some readers."""
    drawing = stream(objects(case[1].EncapsulatedDocument)[3])
    begin = re.search(rb"BT 3 Tr /Text ([\d.]+) Tf ([\d.]+) TL 20 (\d+) Td", drawing)
    assert begin is not None
    assert 0 < float(begin[1]) <= 11
    assert int(begin[3]) - float(begin[2]) * (drawing.count(b"T*") - 1) > 0


def test_it_names_no_patient() -> None:
    made = with_bytes(
        detected(draft()), PatientName=b"Doe^Jane", PatientID=b"ID4711", AccessionNumber=b"ACC4712"
    )
    content = document(made).EncapsulatedDocument
    texts = b"".join([content, *(stream(o) for o in objects(content)[3:5])])
    for secret in (b"Doe", b"Jane", b"ID4711", b"ACC4712"):
        assert secret not in texts


def test_a_study_not_analysed_has_a_page_with_the_reason() -> None:
    dataset = document(NOT_ANALYSED)
    assert "NOT ANALYSED: the images are For Processing." in words(dataset)
    assert "SourceInstanceSequence" not in dataset


def test_sources_are_the_images_analysed() -> None:
    dataset = document(detected(draft(refuse={R_MLO: "the view is magnified"})))
    listed = {
        item.ReferencedSOPInstanceUID: item.ReferencedSOPClassUID
        for item in dataset.SourceInstanceSequence
    }
    assert len(listed) == 3
    for sop_uid, sop_class in listed.items():
        instance = FOUND.instance(sop_uid)
        assert (sop_class, str(instance.view) != "R MLO") == (instance.sop_class, True)


def test_one_page_for_all_models() -> None:
    dataset = document(CASES["several models"])
    assert dataset.SeriesDescription == "AI Summary - AI generated"
    assert document(FOUND).SeriesDescription == "AI Mass Detector Summary - AI generated"
    said = words(dataset)
    assert said.index("Mass Detector: Processed") < said.index("Breast Area: Processed")
    both = replace(FOUND, results=(FOUND.results[0], segmented(EXAM).results[0]))
    assert len(encapsulated_pdf.build(both)) == 1


def test_version_2_says_so_in_the_same_series() -> None:
    dataset, before = document(as_version_2(FOUND)), document(FOUND)
    assert dataset.DocumentTitle.endswith("Version 2, replaces that of 08:42")
    assert dataset.InstanceNumber == 1001
    assert dataset.SeriesInstanceUID == before.SeriesInstanceUID
    assert dataset.SOPInstanceUID != before.SOPInstanceUID


def test_what_a_modality_burnt_in_is_declared() -> None:
    made = draft(
        [R_CC, R_MLO],
        change=lambda dataset: setattr(dataset, "BurnedInAnnotation", "YES"),
        refuse={R_MLO: "the view is magnified"},
    )
    assert document(made).BurnedInAnnotation == "YES"
    refused = draft(
        [R_CC],
        change=lambda dataset: setattr(dataset, "BurnedInAnnotation", "YES"),
        refuse={R_CC: "the view is magnified"},
    )
    assert document(refused).BurnedInAnnotation == "NO"


def test_brackets_and_backslashes_are_text() -> None:
    statement = r"Area (of the breast) \ or part of it :-)"
    dataset = document(with_result(EXAM, statements=(statement,)))
    assert statement in words(dataset)


def test_the_same_draft_gives_the_same_bytes_with_the_time_it_was_decided() -> None:
    first, second = ([to_bytes(d) for d in encapsulated_pdf.build(FOUND)] for _ in range(2))
    assert first == second
    made = draft([R_CC], change=lambda d: setattr(d, "TimezoneOffsetFromUTC", "-0330"))
    information = objects(document(made).EncapsulatedDocument)[-1]
    assert b"/CreationDate (D:20260310061207-03'30')" in information
    assert b"ModDate" not in information


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        (b"ISO_IR 100", "Müller^Jürgen".encode("latin-1")),
        (b"\\ISO 2022 IR 149", b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7"),
    ],
    ids=["Latin-1", "Korean"],
)
def test_names_are_written_as_the_bytes_they_came_in(charset: bytes, name: bytes) -> None:
    made = with_bytes(draft([R_CC]), SpecificCharacterSet=charset, PatientName=name)
    dataset = document(made)
    assert verbatim.value_bytes(dataset, "SpecificCharacterSet") == charset
    assert verbatim.value_bytes(dataset, "PatientName") == name
    assert dataset.DocumentTitle.startswith("Breast Area 1.0.0")
