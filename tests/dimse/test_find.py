"""What an archive says by C-FIND is taken for what it is, and half an answer for none."""

from __future__ import annotations

import struct
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Protocol

import factories
import pytest
from peers import (
    BREAK_OFF,
    FIND,
    SILENCE,
    Answers,
    Archive,
    association,
    refused_connections,
)
from pydicom import Dataset
from pydicom.tag import Tag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pynetdicom import build_context
from pynetdicom.dsutils import decode

from node.dimse import Reference, StudyIdentity, find_instances, find_study, send
from node.errors import DeliveryError, Unsupported

from .places import MARKED, NODE, REPORT, RESULTS, SUMMARY, address

OpenArchive = Callable[..., Archive]

STUDY = "1.2.1"
PENDING = 0xFF00
PENDING_WITH_WARNING = 0xFF01


class Ask(Protocol):
    def __call__(self, archive: Archive, timeout_s: float = 20) -> object: ...


def ask_for_study(archive: Archive, timeout_s: float = 20) -> tuple[StudyIdentity, ...]:
    return find_study(STUDY, address(archive, timeout_s), NODE)


def ask_for_instances(archive: Archive, timeout_s: float = 20) -> frozenset[str]:
    return find_instances(RESULTS, address(archive, timeout_s), NODE)


odd_character_sets = pytest.mark.filterwarnings("ignore:Unknown encoding:UserWarning")
both = pytest.mark.parametrize("ask", [ask_for_study, ask_for_instances])


def study(patient_id: str = "P1", study_uid: str = STUDY, **values: str) -> Dataset:
    match = Dataset()
    match.QueryRetrieveLevel = "STUDY"
    match.StudyInstanceUID = study_uid
    match.PatientID = patient_id
    for keyword, value in values.items():
        setattr(match, keyword, value)
    return match


def instance(reference: Reference) -> Dataset:
    match = Dataset()
    match.QueryRetrieveLevel = "IMAGE"
    match.StudyInstanceUID = reference.study_uid
    match.SeriesInstanceUID = reference.series_uid
    match.SOPInstanceUID = reference.sop_uid
    return match


def answering(*matches: Dataset, status: int = PENDING) -> Callable[[Dataset], Answers]:
    return lambda query: [(status, match) for match in matches]


def encoded(keyword: str, value: bytes, charset: bytes = b"") -> Dataset:
    """Return a match that goes over the network with the very bytes of a value.

    pydicom would put them right while it writes, if it had not read them in the same encoding.
    """
    values = {"SpecificCharacterSet": charset, "StudyInstanceUID": STUDY.encode(), keyword: value}
    stream = b""
    for tag, content in sorted((Tag(name), content) for name, content in values.items()):
        padded = content + b" " * (len(content) % 2)
        stream += struct.pack("<HHL", tag.group, tag.element, len(padded)) + padded
    match: Dataset = decode(BytesIO(stream), is_implicit_vr=True, is_little_endian=True)
    return match


# Whose study it is


def test_an_archive_says_whose_study_it_is(archive: Archive) -> None:
    archive.find = answering(study("P1", IssuerOfPatientID="HOSP", AccessionNumber="A7"))
    assert ask_for_study(archive) == (StudyIdentity("P1", "HOSP", "A7"),)
    [query] = archive.queries
    assert {element.keyword: element.value or "" for element in query} == {
        "QueryRetrieveLevel": "STUDY",
        "StudyInstanceUID": STUDY,
        "PatientID": "",
        "IssuerOfPatientID": "",
        "AccessionNumber": "",
    }


def test_a_study_it_has_not_is_not_there(archive: Archive) -> None:
    assert ask_for_study(archive) == ()


def test_what_it_does_not_say_is_empty(archive: Archive) -> None:
    silent = study()
    del silent.PatientID
    archive.find = answering(silent)
    assert ask_for_study(archive) == (StudyIdentity("", "", ""),)


def test_a_study_under_two_patients_is_told_as_such(archive: Archive) -> None:
    archive.find = answering(study("P1"), study("P2"), study("P1"))
    assert ask_for_study(archive) == (StudyIdentity("P1", "", ""), StudyIdentity("P2", "", ""))


def test_other_studies_of_an_archive_that_ignores_keys_are_left_aside(archive: Archive) -> None:
    nameless = study("P9")
    del nameless.StudyInstanceUID
    others = [study(f"P{n}", f"1.2.1{n}") for n in range(300)]
    archive.find = answering(*others, study("MINE"), nameless)
    assert ask_for_study(archive) == (StudyIdentity("MINE", "", ""),)


def test_padding_is_no_part_of_a_value(archive: Archive) -> None:
    archive.find = answering(encoded("PatientID", b" P1  \0"))
    assert ask_for_study(archive) == (StudyIdentity("P1", "", ""),)


@pytest.mark.parametrize(
    ("value", "charset"),
    [
        ("MÜLLER-7".encode("latin-1"), b"ISO_IR 100"),
        ("MÜLLER-7".encode(), b"ISO_IR 192"),
        ("MU\N{COMBINING DIAERESIS}LLER-7".encode(), b"ISO_IR 192"),
        ("MÜLLER-7".encode("latin-1"), b"ISO 2022 IR 100"),
        ("MÜLLER-7".encode("gb18030"), b"GB18030"),
        (b"\x1b-A" + "MÜLLER-7".encode("latin-1"), b"\\ISO 2022 IR 100"),
    ],
)
def test_the_same_text_in_another_character_set_is_the_same(
    archive: Archive, value: bytes, charset: bytes
) -> None:
    archive.find = answering(encoded("PatientID", value, charset))
    assert [found.patient_id for found in ask_for_study(archive)] == ["MÜLLER-7"]


def test_code_extensions_are_followed(archive: Archive) -> None:
    value = b"7-\x1b$B;3ED\x1b(B-8"  # PS3.5 H
    archive.find = answering(encoded("PatientID", value, b"\\ISO 2022 IR 87"))
    assert [found.patient_id for found in ask_for_study(archive)] == ["7-山田-8"]


@odd_character_sets
@pytest.mark.parametrize(
    ("value", "charset"),
    [
        (b"M\xdcLLER-7", b""),
        (b"M\xdcLLER-7", b"ISO_IR 192"),
        (b"M\xdcLLER-7", b"NO SUCH SET"),
        (b"M\xdcLLER-7", b"ISO 2022 IR 6\\ISO 2022 IR 87"),
    ],
)
def test_what_cannot_be_decoded_equals_no_text_but_the_same_bytes(
    archive: Archive, value: bytes, charset: bytes
) -> None:
    archive.find = answering(encoded("PatientID", value, charset))
    assert [found.patient_id for found in ask_for_study(archive)] == [r"M\xdcLLER-7"]


@odd_character_sets
def test_an_unknown_character_set_is_no_matter_where_it_is_not_used(archive: Archive) -> None:
    archive.find = answering(encoded("PatientID", b"P1", b"NO SUCH SET"))
    assert [found.patient_id for found in ask_for_study(archive)] == ["P1"]


# Which objects it lists


def test_an_archive_lists_what_it_holds(archive: Archive, tmp_path: Path) -> None:
    paths = factories.saved_exam(tmp_path)
    send(paths[:3], address(archive), NODE)
    images = [received.read() for received in archive.received]
    references = [
        Reference(i.StudyInstanceUID, i.SeriesInstanceUID, i.SOPClassUID, i.SOPInstanceUID)
        for i in images
    ]
    assert find_instances(references, address(archive), NODE) == {
        image.SOPInstanceUID for image in images
    }
    [found] = find_study(images[0].StudyInstanceUID, address(archive), NODE)
    assert found.patient_id == images[0].PatientID
    assert found.accession_number == images[0].AccessionNumber


def test_it_is_asked_once_for_each_series(archive: Archive) -> None:
    assert ask_for_instances(archive) == frozenset()
    asked = [(query.StudyInstanceUID, query.SeriesInstanceUID) for query in archive.queries]
    assert asked == [(STUDY, REPORT.series_uid), (STUDY, SUMMARY.series_uid)]
    assert {query.QueryRetrieveLevel for query in archive.queries} == {"IMAGE"}
    assert archive.associations == 1


def test_only_what_is_listed_is_there(archive: Archive) -> None:
    archive.find = answering(instance(REPORT), instance(MARKED))
    assert ask_for_instances(archive) == {REPORT.sop_uid, MARKED.sop_uid}


def test_objects_that_nobody_asked_for_do_not_count(archive: Archive) -> None:
    elsewhere = instance(SUMMARY)
    elsewhere.StudyInstanceUID = "1.2.9"
    in_another_series = instance(MARKED)
    in_another_series.SeriesInstanceUID = "1.2.1.9"
    unknown = instance(Reference(STUDY, SUMMARY.series_uid, SUMMARY.sop_class, "1.2.3.4"))
    archive.find = answering(elsewhere, in_another_series, unknown, instance(REPORT))
    assert ask_for_instances(archive) == {REPORT.sop_uid}


def test_an_archive_may_leave_out_what_it_was_asked_for(archive: Archive) -> None:
    def find(query: Dataset) -> Answers:
        for reference in RESULTS:
            match = Dataset()
            match.SOPInstanceUID = reference.sop_uid
            if reference.series_uid == query.SeriesInstanceUID:
                yield PENDING, match

    archive.find = find
    assert ask_for_instances(archive) == {reference.sop_uid for reference in RESULTS}


def test_about_nothing_nobody_is_asked(archive: Archive) -> None:
    assert find_instances([], address(archive), NODE) == frozenset()
    assert archive.associations == 0


# How it answers


@pytest.mark.parametrize("syntaxes", [[ImplicitVRLittleEndian], [ExplicitVRLittleEndian]])
def test_one_transfer_syntax_is_enough(open_archive: OpenArchive, syntaxes: list[str]) -> None:
    archive = open_archive(service_syntaxes=syntaxes)
    archive.find = answering(study("P1"))
    assert ask_for_study(archive) == (StudyIdentity("P1", "", ""),)


@both
def test_what_may_inflate_without_end_is_not_asked_for(open_archive: OpenArchive, ask: Ask) -> None:
    archive = open_archive(service_syntaxes=[DeflatedExplicitVRLittleEndian])
    archive.find = answering(study("P1"))
    with pytest.raises(Unsupported):
        ask(archive)


def test_a_match_with_a_warning_about_optional_keys_is_a_match(archive: Archive) -> None:
    archive.find = answering(study("P1"), status=PENDING_WITH_WARNING)
    assert ask_for_study(archive) == (StudyIdentity("P1", "", ""),)


@both
@pytest.mark.parametrize(
    "status", [0xA700, 0xA900, 0xC000, 0xFE00, 0x0110, 0xB001, 0x0213, BREAK_OFF]
)
@pytest.mark.parametrize("matches", [0, 30])
def test_an_answer_that_does_not_end_well_is_none(
    archive: Archive, ask: Ask, status: int, matches: int
) -> None:
    archive.find = lambda query: [*[(PENDING, study())] * matches, (status, None)]
    with pytest.raises(DeliveryError, match=r"^ARCHIVE .*C-FIND") as caught:
        ask(archive)
    assert not isinstance(caught.value, Unsupported)


@both
@pytest.mark.parametrize("matches", [0, 30])
def test_silence_is_no_answer(archive: Archive, ask: Ask, matches: int) -> None:
    archive.find = lambda query: [*[(PENDING, study())] * matches, (SILENCE, None)]
    with pytest.raises(DeliveryError, match="has not answered C-FIND in 4 s"):
        ask(archive, timeout_s=4)


@both
@pytest.mark.parametrize("status", [0x0118, 0x0122, 0x0124, 0x0211])
def test_an_archive_may_say_that_it_does_not_do_this(
    archive: Archive, ask: Ask, status: int
) -> None:
    archive.find = lambda query: [(status, None)]
    with pytest.raises(Unsupported, match=f"^ARCHIVE answered C-FIND with 0x{status:04X}"):
        ask(archive)


@both
def test_an_archive_without_queries_is_understood(open_archive: OpenArchive, ask: Ask) -> None:
    with pytest.raises(Unsupported, match="accepts none of the services"):
        ask(open_archive(offers=[]))


@both
def test_an_archive_that_rejects_us_does_not_offer_it(open_archive: OpenArchive, ask: Ask) -> None:
    with pytest.raises(Unsupported, match="does not know AINODE"):
        ask(open_archive(knows=["SOMEBODY"]))


def test_an_archive_that_is_busy_is_worth_another_try(archive: Archive) -> None:
    archive.admit_at_most(1)
    contexts = [build_context(FIND)]
    with association(archive.port, contexts, called_ae=archive.ae_title) as opened:
        assert opened.is_established
        with pytest.raises(DeliveryError, match="rejected the association for now") as caught:
            ask_for_study(archive)
    assert not isinstance(caught.value, Unsupported)


@both
@refused_connections
def test_an_archive_that_is_down_is_worth_another_try(archive: Archive, ask: Ask) -> None:
    archive.stop_accepting()
    with pytest.raises(DeliveryError, match="cannot be reached") as caught:
        ask(archive)
    assert not isinstance(caught.value, Unsupported)


def test_an_answer_that_never_ends_is_given_up(archive: Archive) -> None:
    def find(query: Dataset) -> Answers:
        while archive.associations == 1:
            yield PENDING, study("P1")

    archive.find = find
    with pytest.raises(DeliveryError, match="has not answered C-FIND in 3 s"):
        ask_for_study(archive, timeout_s=3)


def test_a_match_that_cannot_be_read_spoils_the_answer(archive: Archive) -> None:
    archive.find = lambda query: [(PENDING, None)]
    with pytest.raises(DeliveryError, match="C-FIND"):
        ask_for_study(archive)
