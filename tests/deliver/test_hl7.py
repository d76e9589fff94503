"""Triage levels as HL7, read by another's parser, and validated by the library's own rules."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC
from zoneinfo import ZoneInfo

import hl7
import pytest
from examples import examples
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.parser import parse_message
from hypothesis import given, settings
from hypothesis import strategies as st
from levels_told import LEVEL, WHOSE
from reading_lists import ReadingList

from node.config import HL7Settings
from node.deliver.messages.hl7 import OBSERVATIONS, build_hl7, order_number, why_unsayable
from node.deliver.messages.level_message import LevelMessage, taken_back, thread_of
from node.ledger import MessageKind
from node.result import Priority
from node.study import Whose

SETTINGS = ReadingList(port=1).settings()


def built(
    message: LevelMessage,
    former: Sequence[LevelMessage] = (),
    receiver: HL7Settings = SETTINGS,
    encoding: str = "utf-8",
) -> hl7.Message:
    content = build_hl7(message, former, receiver, control_id="ABCDEFGHIJKLMNOPQRST", zone=UTC)
    return hl7.parse(content.decode(encoding))


def text(message: hl7.Message, at: str) -> str:
    """Return a value as it was before it was escaped: "PID.3.1"."""
    segment, *numbers = at.split(".")
    field, component, sub = [*map(int, numbers), 1, 1][:3]
    return str(message.unescape(str(message.extract_field(segment, 1, field, 1, component, sub))))


def observations(message: hl7.Message) -> dict[str, tuple[str, str]]:
    """Return value and status by code."""
    return {str(one(3)[0][0]): (str(one(5)), str(one(11))) for one in message.segments("OBX")}


def test_a_level_says_whose_which_and_by_what() -> None:
    message = built(LEVEL)
    assert [str(segment[0]) for segment in message][:3] == ["MSH", "PID", "OBR"]
    assert text(message, "MSH.3") == "AI-NODE"
    assert str(message.segment("MSH")(9)) == "ORU^R01^ORU_R01"
    assert text(message, "MSH.10") == "ABCDEFGHIJKLMNOPQRST"
    assert text(message, "MSH.11") == "P"
    assert text(message, "MSH.12") == "2.5.1"
    assert text(message, "MSH.18") == "UNICODE UTF-8"
    assert text(message, "PID.3.1") == "P-1"
    assert text(message, "PID.3.4") == "HOSPITAL"
    assert str(message.segment("PID")(5)) == "Doe^Jane^Ann^MD^Dr^^^A"
    assert text(message, "PID.7") == "19500101"
    assert text(message, "OBR.2") == "A-1"
    assert text(message, "OBR.3.1") == order_number(LEVEL) == f"A-1-{LEVEL.thread}"
    assert text(message, "OBR.3.2") == "AI-NODE"
    assert text(message, "OBR.25") == "R"
    said = observations(message)
    assert said == {
        "AI-LEVEL": ("URGENT^urgent^99AINODE", "R"),
        "AI-LEVEL-BEFORE": ("ROUTINE^routine^99AINODE", "R"),
        "AI-SCORE": ("87.3", "R"),
        "AI-POINT": ("screening: at least 35 %", "R"),
        "AI-WHY": ("L breast malignancy: the score reaches the operating point", "R"),
        "AI-MODEL": ("Breast Triage (breast-triage, Test)", "R"),
        "AI-MODEL-VERSION": ("1.2.0", "R"),
        "AI-STATEMENT": (
            "AI generated. Not verified by a physician. For research use only.",
            "R",
        ),
        "113014": ("1.2.826.1", "R"),
    }
    assert list(said) == [code for code in OBSERVATIONS if code in said]
    assert str(message.segments("OBX")[-1](3)) == "113014^DICOM Study^DCM"
    assert {str(one(4)) for one in message.segments("OBX")} == {"1"}


def test_the_library_finds_it_valid() -> None:
    content = build_hl7(LEVEL, (), SETTINGS, control_id="X" * 20, zone=UTC).decode()
    parsed = parse_message(content, validation_level=VALIDATION_LEVEL.STRICT, find_groups=True)
    assert parsed.validate()
    assert content.endswith("\r")
    assert "\n" not in content


def test_times_are_of_the_sites_clock() -> None:
    content = build_hl7(LEVEL, (), SETTINGS, control_id="X", zone=ZoneInfo("Europe/Berlin"))
    message = hl7.parse(content.decode())
    assert text(message, "MSH.7") == "20261129130010+0100"
    assert text(message, "OBR.7") == "20261129130000+0100"
    assert text(message, "OBR.22") == "20261129130010+0100"
    assert str(message.segment("OBX")(14)) == "20261129130010+0100"


def test_a_changed_level_replaces_the_former_one() -> None:
    later = replace(LEVEL, level=Priority.ROUTINE, before=Priority.URGENT, version=2)
    before, after = built(LEVEL), built(later, [LEVEL])
    for at in ("OBR.2", "OBR.3.1", "OBR.4.1"):
        assert text(before, at) == text(after, at)
    assert observations(after)["AI-LEVEL"] == ("ROUTINE^routine^99AINODE", "R")
    assert observations(after)["AI-LEVEL-BEFORE"] == ("URGENT^urgent^99AINODE", "R")


def test_what_was_said_and_is_not_any_more_is_deleted() -> None:
    unassessed = replace(
        LEVEL, level=Priority.NOT_ASSESSED, before=None, score=None, point=None, about=""
    )
    said = observations(built(unassessed, [LEVEL]))
    assert said["AI-LEVEL"] == ("NOT-ASSESSED^not assessed^99AINODE", "R")
    assert {code for code, (_, status) in said.items() if status == "D"} == {
        "AI-LEVEL-BEFORE",
        "AI-SCORE",
        "AI-POINT",
    }
    assert "D" not in {status for _, status in observations(built(unassessed)).values()}


@pytest.mark.parametrize(
    ("kind", "status"), [(MessageKind.WITHDRAWN, "D"), (MessageKind.WRONG, "W")]
)
def test_what_is_taken_back_is_so_under_the_identifiers_it_was_told_by(
    kind: MessageKind, status: str
) -> None:
    message = built(taken_back(LEVEL, kind, LEVEL.made_at + 60), [LEVEL])
    assert {one for _, one in observations(message).values()} == {status}
    assert observations(message).keys() == observations(built(LEVEL)).keys()
    for at in ("PID.3.1", "OBR.2", "OBR.3.1"):
        assert text(message, at) == text(built(LEVEL), at)
    assert text(message, "OBR.25") == "R"


def test_preliminary_is_said_only_where_that_is_set() -> None:
    receiver = SETTINGS.model_copy(update={"result_status": "P"})
    message = built(LEVEL, receiver=receiver)
    assert text(message, "OBR.25") == "P"
    assert {status for _, status in observations(message).values()} == {"P"}


@pytest.mark.parametrize(
    ("issuer", "authority"),
    [
        ("HOSPITAL", "HOSPITAL"),
        ("", "SITE"),
        ("2.16.840.1.113883.3.1", "&2.16.840.1.113883.3.1&ISO"),
        ("General Hospital of the North", "&General Hospital of the North&L"),
        ("A & B", "A \\T\\ B"),
    ],
)
def test_the_assigning_authority_is_the_studys_else_the_sites(issuer: str, authority: str) -> None:
    receiver = SETTINGS.model_copy(update={"assigning_authority": "SITE"})
    message = built(replace(LEVEL, whose=replace(WHOSE, issuer=issuer)), receiver=receiver)
    assert str(message.segment("PID")(3)) == f"P-1^^^{authority}"


def test_a_name_in_several_scripts_is_several_names() -> None:
    name = "Yamada^Tarou=山田^太郎=やまだ^たろう"
    message = built(replace(LEVEL, whose=replace(WHOSE, patient_name=name)))
    assert str(message.segment("PID")(5)) == (
        "Yamada^Tarou^^^^^^A~山田^太郎^^^^^^I~やまだ^たろう^^^^^^P"
    )


@pytest.mark.parametrize("character_set", ["8859/1", "ASCII"])
def test_a_name_of_which_nothing_is_left_is_left_out(character_set: str) -> None:
    receiver = SETTINGS.model_copy(update={"character_set": character_set})
    name = "Yamada^Tarou=山田^太郎=やまだ^たろう"
    named = replace(LEVEL, whose=replace(WHOSE, patient_name=name))
    message = built(named, receiver=receiver, encoding="latin-1")
    assert str(message.segment("PID")(5)) == "Yamada^Tarou^^^^^^A"


@pytest.mark.parametrize(
    "birth_date", ["", "1950", "00000000", "19991399", "19500229", "\uff1195\uff100101"]
)
def test_a_day_that_never_was_is_left_out(birth_date: str) -> None:
    message = built(replace(LEVEL, whose=replace(WHOSE, birth_date=birth_date)))
    assert text(message, "PID.5.1") == "Doe"
    assert "".join(str(field) for field in message.segment("PID")[6:]) == ""


@pytest.mark.parametrize("name", ["", "^^^", "=", "^^=", '""', '""^""'])
def test_of_a_patient_without_a_name_it_is_said_that_there_is_none(name: str) -> None:
    message = built(replace(LEVEL, whose=replace(WHOSE, patient_name=name)))
    assert str(message.segment("PID")(5)) == "^^^^^^U"


@pytest.mark.parametrize(
    ("character_set", "encoding", "family"),
    [
        ("UNICODE UTF-8", "utf-8", "Müller-山"),
        ("8859/1", "latin-1", "Müller-?"),
        ("ASCII", "ascii", "Muller-?"),
    ],
)
def test_a_name_is_written_as_far_as_the_character_set_goes(
    character_set: str, encoding: str, family: str
) -> None:
    receiver = SETTINGS.model_copy(update={"character_set": character_set})
    named = replace(LEVEL, whose=replace(WHOSE, patient_name="Müller-山^Eva"))
    message = built(named, receiver=receiver, encoding=encoding)
    assert text(message, "PID.5.1") == family
    assert text(message, "MSH.18") == character_set


@pytest.mark.parametrize(
    ("whose", "why"),
    [
        (WHOSE, ""),
        (replace(WHOSE, patient_name=""), ""),
        (replace(WHOSE, patient_id=""), "the study has no patient ID"),
        (replace(WHOSE, accession_number="A" * 16), ""),
        (
            replace(WHOSE, accession_number="A" * 17),
            "the accession number of the study is longer than 16 characters",
        ),
        (replace(WHOSE, patient_id=" "), "the study has no patient ID"),
        (
            replace(WHOSE, patient_id='""'),
            'the patient ID of the study is "", which in HL7 deletes what is there',
        ),
        (
            replace(WHOSE, accession_number='""'),
            'the accession number of the study is "", which in HL7 deletes what is there',
        ),
        (replace(WHOSE, accession_number=""), "the study has no accession number"),
        (replace(WHOSE, patient_id="P?1"), "the patient ID of the study cannot be read"),
        (
            replace(WHOSE, patient_id="Ü1"),
            "the patient ID of the study cannot be written in ASCII",
        ),
        (
            replace(WHOSE, accession_number="A\t1"),
            "the accession number of the study cannot be written in ASCII",
        ),
    ],
)
def test_without_what_finds_its_order_nothing_can_be_said(whose: Whose, why: str) -> None:
    receiver = SETTINGS.model_copy(update={"character_set": "ASCII"})
    assert why_unsayable(whose, receiver) == why


def test_two_studies_of_one_order_are_told_apart() -> None:
    assert thread_of("1.2.3", WHOSE) != thread_of("1.2.4", WHOSE)
    assert thread_of("1.2.3", WHOSE) != thread_of("1.2.3", replace(WHOSE, patient_id="P-2"))
    assert thread_of("1.2.3", WHOSE) == thread_of("1.2.3", replace(WHOSE, patient_name="Roe"))


ODD = st.text(
    st.one_of(st.sampled_from("|^&~\\\r\n\\FSTREXH .=?"), st.characters(exclude_categories=["Cs"])),
    max_size=40,
)


@settings(max_examples=examples(150), deadline=None)
@given(patient_id=ODD, accession=ODD, issuer=ODD, why=ODD, title=ODD)
def test_whatever_stands_in_a_study_arrives_as_it_was(
    patient_id: str, accession: str, issuer: str, why: str, title: str
) -> None:
    whose = Whose(patient_id, issuer, f"{patient_id}^{issuer}", "19500101", accession)
    if why_unsayable(whose, SETTINGS):
        return
    model = replace(LEVEL.model, title=title)
    message = built(replace(LEVEL, whose=whose, why=why, model=model))
    assert text(message, "PID.3.1") == patient_id
    assert text(message, "OBR.2") == accession
    assert text(message, "OBR.3.1").startswith(f"{accession}-")
    assert len(message.segments("OBX")) == 9
    assert all(re.fullmatch("MSH|PID|OBR|OBX", str(one[0])) for one in message)
    assert text(message, "OBX.11") == "R"
