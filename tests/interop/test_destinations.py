"""What the node asks of archives, one call at a time: queries and storage commitment."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from odd_conversion import values_no_encoder_writes, values_of
from peers import COMMITMENT, shut_down
from pydicom import Dataset, dcmread
from pydicom.uid import ImplicitVRLittleEndian, generate_uid
from pynetdicom import AE, evt

from node.dimse import (
    Address,
    CommitmentReport,
    Linger,
    Reference,
    StudyIdentity,
    find_instances,
    find_study,
    read_commitment_report,
    request_commitment,
    send,
)
from node.errors import DeliveryError, Unsupported
from node.ledger import DeliveryState

from .conftest import Started
from .programs import LOOPBACK, NODE_AE, DcmQrScp, Orthanc

pytestmark = [pytest.mark.interop, pytest.mark.timeout(900)]

Exam = Callable[[str], list[Path]]
SaveExam = Callable[..., list[Path]]


class Callback:
    """The node's port, for reports that an archive brings there."""

    def __init__(self) -> None:
        self.reports: queue.Queue[CommitmentReport] = queue.Queue()
        self._ae = AE(NODE_AE)
        self._ae.add_supported_context(COMMITMENT, scu_role=True, scp_role=True)
        server = self._ae.start_server(
            (LOOPBACK, 0), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, self._take)]
        )
        assert server is not None
        self.port = int(server.server_address[1])

    def close(self) -> None:
        shut_down(self._ae)

    def _take(self, event: evt.Event) -> tuple[int, None]:
        self.reports.put(read_commitment_report(event.event_type, event.event_information))
        return 0x0000, None


@pytest.fixture
def callback() -> Iterator[Callback]:
    opened = Callback()
    yield opened
    opened.close()


@pytest.fixture
def orthanc(tmp_path: Path, callback: Callback, started: Started) -> Orthanc:
    archive = Orthanc(tmp_path / "orthanc", callback.port)
    started(archive)
    return archive


@pytest.fixture
def dcmqrscp(tmp_path: Path, started: Started) -> DcmQrScp:
    archive = DcmQrScp(tmp_path / "dcmqrscp")
    started(archive)
    return archive


@pytest.fixture(params=["orthanc", "dcmqrscp"])
def archive(request: pytest.FixtureRequest) -> Orthanc | DcmQrScp:
    found: Orthanc | DcmQrScp = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def images(exam: Exam) -> list[Path]:
    """An exam whose patient ID tells one character set from another."""
    paths = exam("asked about")
    for path in paths:
        image = dcmread(path)
        image.SpecificCharacterSet = "ISO_IR 100"
        image.PatientID, image.AccessionNumber = "MÜLLER-7", "A7"
        image.IssuerOfPatientID = "HOSPITAL"
        image.save_as(path)
    return paths


def address(archive: Orthanc | DcmQrScp) -> Address:
    return Address(archive.ae_title, LOOPBACK, archive.port, timeout_s=30)


def references(paths: list[Path]) -> list[Reference]:
    images: list[Dataset] = [dcmread(path) for path in paths]
    return [
        Reference(i.StudyInstanceUID, i.SeriesInstanceUID, i.SOPClassUID, i.SOPInstanceUID)
        for i in images
    ]


def uids(asked: list[Reference]) -> set[str]:
    return {reference.sop_uid for reference in asked}


def missing(like: Reference) -> Reference:
    return Reference(like.study_uid, like.series_uid, like.sop_class, generate_uid(None))


def ask_for_commitment(
    archive: Orthanc | DcmQrScp, asked: list[Reference], callback: Callback
) -> CommitmentReport:
    transaction_uid = generate_uid(None)
    request_commitment(
        transaction_uid, asked, address(archive), NODE_AE, lambda report: False, Linger(0)
    )
    report = callback.reports.get(timeout=60)
    assert report.transaction_uid == transaction_uid
    return report


def test_an_archive_says_whose_study_it_is_and_which_objects_it_holds(
    archive: Orthanc | DcmQrScp, images: list[Path]
) -> None:
    asked = references(images)
    study_uid = asked[0].study_uid
    assert find_study(study_uid, address(archive), NODE_AE) == ()
    assert find_instances(asked, address(archive), NODE_AE) == frozenset()
    sent = send(images[:3], address(archive), NODE_AE)
    assert {outcome.state for outcome in sent} == {DeliveryState.SENT}
    [identity] = find_study(study_uid, address(archive), NODE_AE)
    assert (identity.patient_id, identity.accession_number) == ("MÜLLER-7", "A7")
    assert identity.issuer_of_patient_id in ("HOSPITAL", "")
    assert find_instances(asked, address(archive), NODE_AE) == uids(asked[:3])
    assert find_study(f"{study_uid}.1", address(archive), NODE_AE) == ()


def test_orthanc_tells_the_issuer_of_a_patient_id(orthanc: Orthanc, images: list[Path]) -> None:
    send(images, address(orthanc), NODE_AE)
    found = find_study(references(images)[0].study_uid, address(orthanc), NODE_AE)
    assert found == (StudyIdentity("MÜLLER-7", "HOSPITAL", "A7"),)


def test_a_study_that_orthanc_has_under_two_patients_is_told_as_such(
    orthanc: Orthanc, images: list[Path]
) -> None:
    other = dcmread(images[1])
    other.PatientID = "MAIER-8"
    other.save_as(images[1])
    send(images, address(orthanc), NODE_AE)
    found = find_study(other.StudyInstanceUID, address(orthanc), NODE_AE)
    assert {identity.patient_id for identity in found} == {"MÜLLER-7", "MAIER-8"}


def test_orthanc_answers_for_objects_on_an_association_that_it_opens(
    orthanc: Orthanc, images: list[Path], callback: Callback
) -> None:
    send(images, address(orthanc), NODE_AE)
    asked = references(images)
    report = ask_for_commitment(orthanc, asked, callback)
    assert report.committed == uids(asked)
    assert report.failed == {}


def test_orthanc_does_not_answer_for_what_it_has_not(
    orthanc: Orthanc, images: list[Path], callback: Callback
) -> None:
    send(images, address(orthanc), NODE_AE)
    asked = references(images)
    unknown = missing(like=asked[0])
    report = ask_for_commitment(orthanc, [*asked, unknown], callback)
    assert report.committed == uids(asked)
    assert report.failed == {unknown.sop_uid: "no such object"}


def test_orthanc_notices_an_object_of_another_class(
    orthanc: Orthanc, images: list[Path], callback: Callback
) -> None:
    send(images, address(orthanc), NODE_AE)
    [first, *_] = references(images)
    wrong = Reference(first.study_uid, first.series_uid, "1.2.840.10008.5.1.4.1.1.2", first.sop_uid)
    report = ask_for_commitment(orthanc, [wrong], callback)
    assert report.committed == frozenset()
    assert report.failed == {first.sop_uid: "class and instance do not match"}


def test_orthanc_that_takes_implicit_vr_alone_gets_the_bytes_of_every_value(
    tmp_path: Path, images: list[Path], callback: Callback, started: Started
) -> None:
    orthanc = Orthanc(
        tmp_path / "implicit", callback.port, AcceptedTransferSyntaxes=[ImplicitVRLittleEndian]
    )
    started(orthanc)
    for path in images:
        path.write_bytes(values_no_encoder_writes(path.read_bytes()))
    sent = send(images, address(orthanc), NODE_AE)
    assert {outcome.state for outcome in sent} == {DeliveryState.SENT}
    [study] = orthanc.ask("/studies")
    stored = list(orthanc.instances(study).values())
    assert {image.file_meta.TransferSyntaxUID for image in stored} == {ImplicitVRLittleEndian}
    found = {str(values[0x00080018]): values for values in map(values_of, stored)}
    for original in (values_of(dcmread(path)) for path in images):
        values = found[str(original[0x00080018])]
        # Orthanc gives this one a length: what reads it cannot tell that it is a sequence.
        assert values.pop(0x00091010) and original.pop(0x00091010)
        assert values == original


def test_dcmqrscp_offers_no_storage_commitment(dcmqrscp: DcmQrScp, images: list[Path]) -> None:
    with pytest.raises(Unsupported, match="accepts none of the services"):
        request_commitment(
            "1.2.7", references(images), address(dcmqrscp), NODE_AE, lambda report: True
        )


def test_whom_an_archive_does_not_know_it_tells_nothing(
    archive: Orthanc | DcmQrScp, images: list[Path]
) -> None:
    send(images, address(archive), NODE_AE)
    with pytest.raises(DeliveryError):
        find_study(references(images)[0].study_uid, address(archive), "SOMEBODY")
