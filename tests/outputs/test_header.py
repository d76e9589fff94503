"""Patient and study as they came, byte for byte; everything else ours and the same every time."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta, timezone
from io import BytesIO

import pytest
from examples import examples
from factories import L_CC, R_CC
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.uid import UID

from node.identity import IMPLEMENTATION_CLASS_UID, OWN_DEVICE_UID, is_own
from node.outputs import header, verbatim
from node.outputs.case import Draft
from node.outputs.report_set import to_bytes
from outputs.drafts import as_version_2, draft, report_set, reread, with_bytes, with_result

TYPE_2 = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)


def small() -> Draft:
    return draft([R_CC, L_CC])


def assert_written_as_they_came(made: Draft, **values: bytes) -> None:
    with_bytes(made, **values)
    for dataset in report_set(made):
        written = dcmread(BytesIO(to_bytes(dataset)))
        for keyword, value in values.items():
            written_value = verbatim.value_bytes(written, keyword)
            assert written_value == value.rstrip(b" "), (keyword, dataset.Modality)


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        (b"ISO_IR 100", "Müller^Jürgen".encode("latin-1")),
        (b"ISO_IR 192", "Müller^Jürgen=山田^太郎".encode()),
        (b"\\ISO 2022 IR 149", b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7"),
        (b"\\ISO 2022 IR 87", b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B"),
        (b"ISO_IR 13", b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3"),
        (b"ISO_IR 192", "Müller".encode("latin-1")),
        (b"", "Müller".encode("latin-1")),
        (b"ISO_IR 6", b"\xff\xfe\x81^\x80"),
    ],
    ids=["Latin-1", "UTF-8", "Korean", "Japanese", "Katakana", "wrong", "none", "garbage"],
)
def test_names_are_written_as_the_bytes_they_came_in(charset: bytes, name: bytes) -> None:
    assert_written_as_they_came(
        small(), SpecificCharacterSet=charset, PatientName=name, StudyDescription=name
    )


@pytest.mark.filterwarnings("ignore:Unknown encoding")
def test_an_unknown_character_set_silences_nothing() -> None:
    assert_written_as_they_came(
        small(), SpecificCharacterSet=b"NO SUCH SET", PatientName=b"M\xfcller", PatientID=b"4\xb5"
    )


@settings(max_examples=examples(25))
@given(st.binary(max_size=90).filter(lambda value: value == value.rstrip(b" \0")))
def test_any_bytes_survive(value: bytes) -> None:
    made = with_result(draft([R_CC]), analysed=(), findings=(), evaluations=(), reason="test")
    with_bytes(made, PatientID=value, StudyDescription=value, AccessionNumber=value)
    for dataset in report_set(made, ["measurement-report"]):
        written = dcmread(BytesIO(to_bytes(dataset)))
        for keyword in ("PatientID", "StudyDescription", "AccessionNumber"):
            assert verbatim.value_bytes(written, keyword) == value


def test_a_source_without_patient_data_gives_empty_attributes() -> None:
    def strip(dataset: Dataset) -> None:
        for keyword in (*TYPE_2, "StudyDate", "StudyTime", "Manufacturer"):
            if keyword in dataset:
                delattr(dataset, keyword)

    for dataset in report_set(draft([R_CC, L_CC], change=strip)):
        written = reread(dataset)
        for keyword in TYPE_2:
            assert keyword in written
            assert not written[keyword].value
        assert written.ContributingEquipmentSequence[0].Manufacturer == "UNKNOWN"


@pytest.mark.filterwarnings("ignore")
def test_odd_and_overlong_patient_data_still_build() -> None:
    assert_written_as_they_came(
        small(),
        PatientSex=b"weiblich, sagt sie",
        PatientID=b"X" * 200,
        PatientBirthDate=b"unbekannt",
        AccessionNumber=b"A" * 40,
        StudyDate=b"gestern",
        PatientAge=b"old",
    )


def test_issuers_and_codes_come_along() -> None:
    def describe(dataset: Dataset) -> None:
        issuer = Dataset()
        issuer.LocalNamespaceEntityID = "HOSPITAL"
        dataset.IssuerOfPatientID = "HIS"
        dataset.IssuerOfAccessionNumberSequence = [issuer]

    for dataset in report_set(draft([R_CC], change=describe)):
        written = reread(dataset)
        assert written.IssuerOfPatientID == "HIS"
        item = written.IssuerOfAccessionNumberSequence[0]
        assert item.LocalNamespaceEntityID == "HOSPITAL"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("value", [b"garbage", b"\xfe\xff\x00\xe0\xff\xff\x00\x00garbage"])
def test_of_a_damaged_sequence_nothing_is_made_up(value: bytes) -> None:
    for dataset in report_set(with_bytes(small(), ProcedureCodeSequence=value)):
        for item in reread(dataset).get("ProcedureCodeSequence", []):
            assert not len(item)


def test_the_request_is_referenced() -> None:
    def request(dataset: Dataset) -> None:
        item = Dataset()
        item.RequestedProcedureID = "RP1"
        item.RequestedProcedureDescription = "Screening"
        dataset.RequestAttributesSequence = [item]
        dataset.AccessionNumber = "ACC1"

    report = reread(report_set(draft([R_CC], change=request))[0])
    reference = report.ReferencedRequestSequence[0]
    assert reference.RequestedProcedureID == "RP1"
    assert reference.AccessionNumber == "ACC1"
    assert reference.StudyInstanceUID == report.StudyInstanceUID
    assert reference.FillerOrderNumberImagingServiceRequest == ""


def test_times_are_in_the_zone_of_the_source() -> None:
    made = with_bytes(small(), TimezoneOffsetFromUTC=b"+0530")
    for dataset in report_set(made):
        written = reread(dataset)
        assert written.ContentTime == "151207"
        assert written.TimezoneOffsetFromUTC == "+0530"
        algorithm = written.ContributingEquipmentSequence[1]
        assert algorithm.ContributionDateTime == "20260310151207+0530"


@pytest.mark.parametrize("offset", [b"", b"CET", b"+9999", b"+1"])
def test_without_a_zone_in_the_source_times_are_local_and_say_no_zone(offset: bytes) -> None:
    made = replace(
        with_bytes(small(), TimezoneOffsetFromUTC=offset),
        local_zone=timezone(timedelta(hours=-3)),
    )
    for dataset in report_set(made):
        assert dataset.ContentTime == "064207"
        assert "TimezoneOffsetFromUTC" not in dataset
        assert dataset.ContributingEquipmentSequence[1].ContributionDateTime == "20260310064207"


def test_the_same_draft_gives_the_same_bytes() -> None:
    first, second = ([to_bytes(d) for d in report_set(small())] for _ in range(2))
    assert first == second
    for dataset, content in zip(report_set(small()), first, strict=True):
        stream = BytesIO()
        dataset.save_as(stream, enforce_file_format=True)
        assert stream.getvalue() == content


def test_encoding_twice_gives_the_same_bytes() -> None:
    for dataset in report_set(small()):
        assert to_bytes(dataset) == to_bytes(dataset)


def test_versions_share_series_and_differ_in_instances() -> None:
    first, second = report_set(small()), report_set(as_version_2(small()))
    assert [d.SeriesInstanceUID for d in first] == [d.SeriesInstanceUID for d in second]
    assert not {d.SOPInstanceUID for d in first} & {d.SOPInstanceUID for d in second}
    for before, after in zip(first, second, strict=True):
        assert after.InstanceNumber > before.InstanceNumber


def test_a_series_says_the_same_of_itself_in_every_version() -> None:
    made = small()
    later = as_version_2(made)
    later = replace(
        later, version=replace(later.version, decided_at=later.version.decided_at.replace(day=11))
    )
    other = replace(made.results[0].model, title="Another", name="another")
    joined = replace(later, results=(*later.results, replace(later.results[0], model=other)))
    said: dict[str, set[tuple[str, ...]]] = {}
    for dataset in [d for m in (made, later, joined) for d in report_set(m)]:
        assert "SeriesDate" not in dataset
        assert "SeriesTime" not in dataset
        words = (dataset.SeriesDescription, str(dataset.SoftwareVersions), dataset.Modality)
        said.setdefault(dataset.SeriesInstanceUID, set()).add(words)
    assert [len(words) for words in said.values()] == [1] * 4


def workstation_first(made: Draft) -> Draft:
    """Return the draft with the last object, of another kind and name, arrived before the rest."""
    *images, other = made.version.instances
    with_bytes(made, StudyDescription=b"AT THE MODALITY")
    header_of_it = made.headers[other.sop_uid]
    header_of_it.StudyDescription = "AT THE WORKSTATION"
    return replace(made, version=replace(made.version, instances=(other, *images)))


def test_patient_and_study_are_those_of_an_analysed_image() -> None:
    made = workstation_first(draft([R_CC, L_CC], refuse={L_CC: "not an image"}))
    for dataset in report_set(made):
        assert dataset.StudyDescription == "AT THE MODALITY"


def test_without_an_analysed_image_they_are_those_of_a_refused_one() -> None:
    made = workstation_first(draft([R_CC, L_CC], refuse={R_CC: "blurred", L_CC: "no image"}))
    made = with_result(made, refused=made.results[0].refused[:1])
    assert {r.what for r in made.results[0].refused} == {"R CC"}
    for dataset in report_set(made):
        assert dataset.StudyDescription == "AT THE MODALITY"


def test_installations_do_not_share_uids() -> None:
    made = small()
    other = replace(made, version=replace(made.version, installation="another"))
    assert not {d.SOPInstanceUID for d in report_set(made)} & {
        d.SOPInstanceUID for d in report_set(other)
    }


def test_objects_say_who_made_them() -> None:
    made = small()
    for dataset in report_set(made):
        written = reread(dataset)
        assert is_own(written)
        assert written.DeviceUID == written.InstanceCreatorUID == OWN_DEVICE_UID
        assert written.DeviceSerialNumber == "test-installation"
        assert written.ContentQualification == "RESEARCH"
        assert written.file_meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
        assert len(written.file_meta.ImplementationVersionName or "") <= 16
        purposes = [
            item.PurposeOfReferenceCodeSequence[0].CodeValue
            for item in written.ContributingEquipmentSequence
        ]
        assert purposes == ["109101", "109102"]
        assert UID(written.SOPInstanceUID).is_valid
    assert not any(is_own(h) for h in made.headers.values())


def test_a_product_says_so() -> None:
    made = small()
    model = replace(made.results[0].model, is_research=False)
    for dataset in report_set(with_result(made, model=model)):
        assert dataset.ContentQualification == "PRODUCT"


def test_descriptions_are_constant_and_short() -> None:
    made = small()
    assert [d.SeriesDescription for d in report_set(made)][:2] == [
        "AI Breast Area Report - AI generated",
        "AI Breast Area Images - AI generated",
    ]
    model = replace(made.results[0].model, title="T" * 64)
    for dataset in report_set(with_result(made, model=model)):
        assert len(dataset.SeriesDescription) <= header.LO_LENGTH


def test_our_own_text_is_plain_ascii() -> None:
    made = with_result(small(), statements=("Brustfläche ≥ 3 cm²\nzweite Zeile",))
    for dataset in report_set(made):
        for element in dataset.iterall():
            if element.VR in ("LO", "SH", "ST", "LT", "UT", "UC"):
                assert str(element.value).isascii(), element


def test_a_lost_study_is_not_silenced_by_a_first_image_that_cannot_be_read() -> None:
    made = small()
    del made.headers[made.version.instances[0].sop_uid]  # type: ignore[attr-defined]
    made = with_result(made, analysed=(), findings=(), evaluations=(), reason="damaged")
    assert len(report_set(made)) == 2
