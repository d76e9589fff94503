"""Which studies wait for a person: old ones, phantoms, test patients and nobody's."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import factories
import pytest
from factories import R_CC
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from node.config import Intake
from node.dicom.header import read_header
from node.receive.exclusions import why_excluded
from node.trial.exams import PLANS
from node.trial.phantom import Patient

TODAY = date(2026, 3, 20)
SHARED = "a Patient ID that several patients share (shared_patient_ids)"
TEST = "test patient or phantom, by its ID or name (test_patients)"


def header(**changes: Any) -> Dataset:
    dataset = Dataset()
    dataset.PatientID, dataset.PatientName = "4711-0815", "Qaiser^Testa"
    dataset.StudyDate = "20260319"
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    return dataset


def put_raw(dataset: Dataset, keyword: str, vr: str, value: bytes) -> None:
    tag = Tag(tag_for_keyword(keyword) or 0)
    dataset[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)


DEFAULTS = Intake()


def why(settings: Intake = DEFAULTS, /, **changes: Any) -> str | None:
    return why_excluded(header(**changes), TODAY, settings)


def test_an_ordinary_study_of_today_is_analysed_by_itself() -> None:
    assert why() is None


@pytest.mark.parametrize(
    "name",
    [
        *("Tester^Anna", "Testa^Maria", "Testino^Carla", "Qaiser^Noor", "Protest^Eva", "Testud^A"),
        *("Test-Meyer^Ann", "Contestabile^Lea", "Dummett^Ann", "Fantoma^X", "Phantomas^Y"),
        *("Demo^Four Views", "Quist^Q", "Anon^Anon", "Zztop^Billy", "Null^Jane", "None^Ida"),
        "Yamada^Tarou=\u5c71\u7530^\u592a\u90ce",
    ],
)
def test_names_that_people_have_are_no_test_patients(name: str) -> None:
    assert why(PatientName=name, SpecificCharacterSet="ISO_IR 192") is None


@pytest.mark.parametrize(
    "name",
    [
        *("TEST^PATIENT", "test", "Test Patient", "Meier^TEST", "TEST2^Anna", "TESTPATIENTIN^Eva"),
        *("ZZTEST^A", "QC^2026", "QC Phantom", "ACR PHANTOM", "Phantom^CIRS", "phantom_011A"),
        *("Quality Control^", "DUMMY", "PATIENT^TEST^^^", "Yamada^Tarou=TEST^X"),
    ],
)
def test_test_patients_and_phantoms_are_known_by_a_part_of_their_name(name: str) -> None:
    assert why(PatientName=name) == TEST


@pytest.mark.parametrize("patient_id", ["TEST", "test-17", " Test 1 ", "TEST0001", "PHANTOM-1"])
def test_test_patients_are_known_by_their_id(patient_id: str) -> None:
    assert why(PatientID=patient_id) == TEST


@pytest.mark.parametrize("patient_id", ["", "  ", None])
def test_a_study_without_patient_id_waits(patient_id: str | None) -> None:
    assert why(PatientID=patient_id) == "no Patient ID"
    nameless = header()
    del nameless.PatientID
    assert why_excluded(nameless, TODAY, Intake()) == "no Patient ID"


@pytest.mark.parametrize("patient_id", ["0", "0000000", "unknown", "ANONYMOUS", "?", "N/A", "xxx"])
def test_an_id_that_stands_for_nobody_waits(patient_id: str) -> None:
    assert why(PatientID=patient_id) == SHARED


@pytest.mark.parametrize(
    "patient_id",
    [
        "00012345",
        "10",
        "7",
        "ANON-0012",
        "UNKNOWN-20260319-1",
        "NA12878",
        "QC123456",
        "ID7",
        "QA-7",
    ],
)
def test_an_id_that_may_be_one_patients_own_does_not_wait(patient_id: str) -> None:
    assert why(PatientID=patient_id) is None


@pytest.mark.parametrize(
    ("keyword", "value", "name"),
    [
        ("QualityControlImage", "YES", "Quality Control Image"),
        ("QualityControlSubject", "YES", "Quality Control Subject"),
        ("BodyPartExamined", "PHANTOM", "Body Part Examined"),
    ],
)
def test_what_says_it_shows_a_phantom_waits(keyword: str, value: str, name: str) -> None:
    reason = f"phantom or quality control, not a patient ({name} is {value})"
    assert why(**{keyword: value}) == reason
    assert why(**{keyword: "NO"}) is None


def test_a_phantom_beside_the_breast_is_of_a_patient() -> None:
    assert why(QualityControlImage="BOTH") is None


def test_a_study_older_than_the_limit_waits_and_says_how_old_it_is() -> None:
    taken = TODAY - timedelta(days=412)
    reason = "study is 412 days old (max_study_age_days = 90)"
    assert why(StudyDate=f"{taken:%Y%m%d}") == reason
    dotted = header()
    put_raw(dotted, "StudyDate", "DA", f"{taken:%Y.%m.%d}".encode())
    assert why_excluded(dotted, TODAY, DEFAULTS) == reason
    assert why(Intake(max_study_age_days=412), StudyDate=f"{taken:%Y%m%d}") is None
    assert why(Intake(max_study_age_days=0), StudyDate=f"{taken:%Y%m%d}") is None


@pytest.mark.parametrize(
    "written", ["", None, "19000000", "20250230", "last year", "2027", "20991231"]
)
def test_a_date_that_is_missing_impossible_or_to_come_is_not_old(written: str | None) -> None:
    dataset = header()
    dataset["StudyDate"]._value = written
    assert why_excluded(dataset, TODAY, Intake()) is None


def test_the_site_says_who_is_a_test_patient() -> None:
    settings = Intake(test_patients=("M\u00dcLLER-[0-9]*",), shared_patient_ids=("EMERG*",))
    name = "m\u00fcller-17^x"
    assert why(settings, PatientName=name, SpecificCharacterSet="ISO_IR 100") == TEST
    assert why(settings, PatientName="TEST") is None
    assert why(settings, PatientID="Emergency 3") == SHARED


def test_no_reason_quotes_the_patient() -> None:
    for changes in ({"PatientName": "TEST^JANE"}, {"PatientID": "TEST-4711"}, {"PatientID": "0"}):
        reason = str(why(**changes))
        assert not {"JANE", "4711", '"0"'} & set(reason.split())


def test_the_demonstration_and_the_generated_exams_are_analysed() -> None:
    for patient in (Patient(), *(plan.patient for plan in PLANS)):
        assert why(PatientID=patient.patient_id, PatientName=patient.name) is None


def test_a_generated_exam_is_analysed_as_it_is_read_from_disk(tmp_path: Path) -> None:
    (path,) = factories.saved_exam(tmp_path, views=[R_CC])
    assert why_excluded(read_header(path), TODAY, Intake()) is None


@given(
    st.dictionaries(
        st.sampled_from(["PatientID", "PatientName", "StudyDate", "QualityControlImage"]),
        st.tuples(st.sampled_from(["LO", "OB", "PN", "SQ", "US", "UN"]), st.binary(max_size=8)),
    ),
    st.sampled_from([b"", b"ISO_IR 100", b"ISO_IR 192", b"ISO 2022 IR 87", b"nonsense"]),
)
def test_no_header_makes_it_raise(values: dict[str, tuple[str, bytes]], charset: bytes) -> None:
    values["SpecificCharacterSet"] = ("CS", charset)
    dataset = Dataset()
    for keyword, (vr, value) in values.items():
        put_raw(dataset, keyword, vr, value)
    why_excluded(dataset, TODAY, Intake())
