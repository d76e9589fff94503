"""Who is let in, what is answered, and that Success means kept."""

from __future__ import annotations

import json
import socket
import socketserver
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import factories
import odd_classes
import pytest
import sqlalchemy as sa
from factories import R_CC, rejection_note
from ledgers import NODE, is_mammogram
from locks import impatient, locked
from peers import MODALITY_AE, association, contexts_of, modality, report_of, store
from ports import needs_ipv6
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate
from pydicom.tag import Tag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    DigitalMammographyXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)
from pynetdicom import build_context, build_role
from pynetdicom.association import Association
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_ECHO, C_STORE
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
    StudyRootQueryRetrieveInformationModelFind,
    Verification,
)

from node import config, identity
from node.current import Current
from node.dimse import Address, Rejected, echo
from node.dimse.status import (
    CANNOT_UNDERSTAND,
    CLASS_NOT_SUPPORTED,
    INVALID_ARGUMENT_VALUE,
    NOT_AUTHORISED,
    OUT_OF_RESOURCES,
    PROCESSING_FAILURE,
    SUCCESS,
    UNRECOGNISED_OPERATION,
)
from node.errors import ConfigError
from node.ledger import (
    Committing,
    Delivering,
    DeliveryState,
    InstanceState,
    Ledger,
    Outcome,
    Receiving,
    schema,
)
from node.receive.committing import Committer
from node.receive.listener import Listener
from node.receive.reception import Reception
from node.store import Store, dataset_digest

from .doors import Door, OpenDoor, until

OTHER_AE = "OTHER"
MG = DigitalMammographyXRayImageStorageForPresentation


def changed(path: Path, change: Callable[[Dataset], None]) -> Path:
    """Write a mammogram with something changed."""
    dataset = factories.exam(views=[R_CC])[0]
    change(dataset)
    dataset.save_as(path, enforce_file_format=True)
    return path


def lets_in(port: int) -> bool:
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0


# Who is let in


def test_a_known_peer_gets_an_echo(door: Door) -> None:
    with association(door.port, [build_context(Verification)]) as opened:
        assert opened.send_c_echo().Status == SUCCESS


def rejection(opened: object) -> tuple[int, int, int]:
    primitive = opened.acceptor.primitive  # type: ignore[attr-defined]
    return (primitive.result, primitive.result_source, primitive.diagnostic)


def test_an_unknown_ae_is_rejected_and_the_log_says_how_to_let_it_in(
    door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    with association(door.port, [build_context(Verification)], "STRANGER") as opened:
        assert opened.is_rejected
        assert rejection(opened) == (1, 1, 3)
    assert '[[peers]] name = "...", ae_title = "STRANGER", host = "127.0.0.1"' in caplog.text


def test_who_calls_by_our_own_ae_title_is_rejected_without_an_alarm(
    door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "node.receive.admission")
    with association(door.port, [build_context(Verification)], "AINODE") as opened:
        assert opened.is_rejected
        assert rejection(opened) == (1, 1, 3)
    [record] = [
        one
        for one in caplog.records
        if one.name == "node.receive.admission" and "AINODE" in one.getMessage()
    ]
    assert record.levelname == "INFO"
    assert "doctor or another node looked whether we are here" in record.message


def test_a_known_ae_from_another_address_is_rejected_and_the_log_says_what_to_add(
    open_door: OpenDoor, caplog: pytest.LogCaptureFixture
) -> None:
    door = open_door(modality(host="192.0.2.1"))
    with association(door.port, [build_context(Verification)]) as opened:
        assert opened.is_rejected
        assert rejection(opened) == (1, 1, 3)
    assert 'addresses = ["127.0.0.1"]' in caplog.text


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.0/8", "127.0.0.1/32"])
def test_a_peer_may_send_from_its_other_addresses(open_door: OpenDoor, address: str) -> None:
    door = open_door(modality(host="192.0.2.1", addresses=[address]))
    with association(door.port, [build_context(Verification)]) as opened:
        assert opened.is_established


def test_a_peer_may_be_given_by_host_name(open_door: OpenDoor) -> None:
    door = open_door(modality(host="localhost"))
    with association(door.port, [build_context(Verification)]) as opened:
        assert opened.is_established


@needs_ipv6
@pytest.mark.parametrize(
    "changes",
    [{}, {"host": "localhost"}, {"host": "192.0.2.1", "addresses": ["127.0.0.0/8"]}],
    ids=["by address", "by name", "by network"],
)
def test_on_every_address_of_both_families_an_ipv4_peer_is_who_it_is(
    open_door: OpenDoor, exam: list[Path], changes: dict[str, object]
) -> None:
    door = open_door(modality(**changes), host="::")
    assert store(door.port, exam[:1]) == [SUCCESS]
    assert door.study()["sender"] == "modality"


@needs_ipv6
def test_on_every_address_of_both_families_an_ipv6_peer_is_let_in(open_door: OpenDoor) -> None:
    door = open_door(modality(host="0:0::1"), host="::")
    echo(Address("AINODE", "::1", door.port), MODALITY_AE)
    with pytest.raises(Rejected):
        echo(Address("AINODE", "127.0.0.1", door.port), MODALITY_AE)


@needs_ipv6
@pytest.mark.parametrize("named", [True, False])
def test_the_remedy_for_an_ipv4_peer_names_its_ipv4_address(
    open_door: OpenDoor, caplog: pytest.LogCaptureFixture, named: bool
) -> None:
    door = open_door(*([modality(host="192.0.2.1")] if named else []), host="::")
    with association(
        door.port, [build_context(Verification)], MODALITY_AE if named else "STRANGER"
    ) as opened:
        assert rejection(opened) == (1, 1, 3)
    assert ('addresses = ["127.0.0.1"]' if named else 'host = "127.0.0.1"') in caplog.text
    assert "::ffff" not in caplog.text


@pytest.mark.parametrize(
    "host", ["fe80::1%lo", "fe80::1%no-such-zone", "2001:db8::1", "::ffff:192.0.2.1", "a..b"]
)
def test_peers_at_addresses_of_every_kind_keep_nobody_else_out(
    open_door: OpenDoor, caplog: pytest.LogCaptureFixture, host: str
) -> None:
    door = open_door(modality(name="first", host=host), modality())
    echo(Address("AINODE", "127.0.0.1", door.port), MODALITY_AE)
    assert "could not be judged" not in caplog.text


def test_whoever_calls_somebody_else_is_rejected(door: Door) -> None:
    contexts = [build_context(Verification)]
    with association(door.port, contexts, called_ae="OTHER") as opened:
        assert opened.is_rejected
        assert rejection(opened) == (1, 1, 7)


def test_a_peer_that_does_not_send_gets_echoes_and_no_storage(
    open_door: OpenDoor, exam: list[Path]
) -> None:
    door = open_door(modality(sends=False))
    with association(door.port, [build_context(Verification)]) as opened:
        assert opened.send_c_echo().Status == SUCCESS
    assert store(door.port, exam[:1]) == [NOT_AUTHORISED]
    assert door.instances() == []
    assert until(lambda: door.files("incoming") == [])


# What is kept


def test_an_object_is_kept_byte_for_byte_in_its_own_syntax(door: Door, exam: list[Path]) -> None:
    assert store(door.port, exam) == [SUCCESS] * 4
    rows = {row["sop_uid"]: row for row in door.desk.rows(schema.instance)}
    assert len(rows) == 4
    for path, original in zip(exam, factories.exam(), strict=True):
        row = rows[original.SOPInstanceUID]
        assert row["digest"] == dataset_digest(path) == dataset_digest(door.store.path(row["path"]))
        assert row["transfer_syntax"] == ExplicitVRLittleEndian
    assert {row["view"] for row in rows.values()} == {"R CC", "L CC", "R MLO", "L MLO"}
    assert until(lambda: door.files("incoming") == [])
    assert len(door.stored) == 4


def test_a_compressed_object_stays_compressed(door: Door, tmp_path: Path) -> None:
    path = changed(
        tmp_path / "rle.dcm",
        lambda d: d.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False),
    )
    assert store(door.port, [path]) == [SUCCESS]
    (row,) = door.desk.rows(schema.instance)
    assert row["transfer_syntax"] == RLELossless
    assert dataset_digest(door.store.path(row["path"])) == dataset_digest(path)


def test_success_is_answered_only_when_the_row_is_committed(door: Door, exam: list[Path]) -> None:
    with association(door.port, contexts_of(exam)) as opened:
        for number, path in enumerate(exam, start=1):
            assert opened.send_c_store(path).Status == SUCCESS
            assert len(door.instances()) == number
            assert len(door.files("received")) == number


def test_the_same_object_again_is_answered_and_changes_nothing(
    door: Door, exam: list[Path]
) -> None:
    store(door.port, exam[:1])
    before = door.desk.rows(schema.study), door.desk.rows(schema.instance)
    assert store(door.port, exam[:1]) == [SUCCESS]
    assert (door.desk.rows(schema.study), door.desk.rows(schema.instance)) == before
    assert until(lambda: door.files("incoming") == [])


def test_other_pixels_under_a_known_uid_contradict_and_hold_the_study(
    door: Door, tmp_path: Path
) -> None:
    first = changed(tmp_path / "1.dcm", lambda d: None)
    second = changed(tmp_path / "2.dcm", lambda d: setattr(d, "PixelData", d.PixelData[::-1]))
    assert store(door.port, [first, second]) == [SUCCESS, SUCCESS]
    (row,) = door.desk.rows(schema.instance)
    assert row["digest"] == dataset_digest(first)
    assert len(door.files("received")) == 1
    reason, kept = sorted(door.files("contradicting"), key=lambda p: p.suffix, reverse=True)
    about = json.loads(reason.read_text())
    assert "contradicts" in about["reason"]
    assert (about["peer"], about["is_acknowledged"]) == ("modality", True)
    assert dataset_digest(kept) == dataset_digest(second)
    assert "came twice with different pixels" in door.study()["held_reason"]
    assert store(door.port, [second]) == [SUCCESS]
    assert len(door.files("contradicting")) == 2


def test_a_corrected_header_takes_the_place_of_the_first(
    open_door: OpenDoor, tmp_path: Path
) -> None:
    door = open_door(modality(), modality(name="other", ae_title=OTHER_AE))
    first = changed(tmp_path / "1.dcm", lambda d: None)
    second = changed(tmp_path / "2.dcm", lambda d: setattr(d, "PatientName", "Corrected^Name"))
    assert store(door.port, [first, second]) == [SUCCESS, SUCCESS]
    (row,) = door.desk.rows(schema.instance)
    assert row["digest"] == dataset_digest(second)
    (former,) = door.desk.rows(schema.former_instance)
    assert dataset_digest(door.store.path(former["path"])) == dataset_digest(first)
    assert door.study()["held_reason"] is None
    assert door.history()[-1] == "R CC came with a corrected header: Patient's Name"
    again = changed(tmp_path / "3.dcm", lambda d: setattr(d, "InstanceCreationTime", "120000"))
    assert store(door.port, [again], OTHER_AE) == [SUCCESS]
    assert door.desk.rows(schema.instance) == [row]
    assert door.history()[-1] == "R CC came as it was before its correction, which stands"
    assert store(door.port, [first]) == [SUCCESS]  # from whom the correction came
    assert door.history()[-1] == "R CC came with a corrected header: Patient's Name"
    assert len(door.files("received")) == 3
    assert store(door.port, [second]) == [SUCCESS]
    (row,) = door.desk.rows(schema.instance)
    assert row["digest"] == dataset_digest(second)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, RLELossless])
def test_the_same_image_in_another_encoding_changes_nothing(
    door: Door, tmp_path: Path, syntax: UID
) -> None:
    def encode(dataset: Dataset) -> None:
        if syntax.is_compressed:
            dataset.compress(syntax, encoding_plugin="pydicom", generate_instance_uid=False)
        dataset.file_meta.TransferSyntaxUID = syntax

    first = changed(tmp_path / "1.dcm", lambda d: None)
    second = changed(tmp_path / "2.dcm", encode)
    assert store(door.port, [first, second]) == [SUCCESS, SUCCESS]
    (row,) = door.desk.rows(schema.instance)
    assert row["digest"] == dataset_digest(first)
    assert len(door.files("received")) == 1
    assert door.files("contradicting") == []
    assert door.study()["held_reason"] is None
    assert "the same but for how it is encoded" in door.history()[-1]


def test_other_pixels_in_another_encoding_hold_the_study(door: Door, tmp_path: Path) -> None:
    def change(dataset: Dataset) -> None:
        dataset.PixelData = dataset.PixelData[::-1]
        dataset.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)

    first = changed(tmp_path / "1.dcm", lambda d: None)
    assert store(door.port, [first, changed(tmp_path / "2.dcm", change)]) == [SUCCESS, SUCCESS]
    assert "came twice with different pixels" in door.study()["held_reason"]


def test_pixels_that_cannot_be_decoded_cannot_be_compared_and_hold_the_study(
    door: Door, tmp_path: Path
) -> None:
    def damage(dataset: Dataset) -> None:
        dataset.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
        dataset.PixelData = encapsulate([b"no run lengths at all"])

    first = changed(tmp_path / "1.dcm", lambda d: None)
    assert store(door.port, [first, changed(tmp_path / "2.dcm", damage)]) == [SUCCESS, SUCCESS]
    assert "came twice and cannot be compared" in door.study()["held_reason"]


def test_an_image_that_turns_up_in_another_study_holds_both(door: Door, tmp_path: Path) -> None:
    first = changed(tmp_path / "1.dcm", lambda d: None)
    second = changed(tmp_path / "2.dcm", lambda d: setattr(d, "StudyInstanceUID", "2.25.4711"))
    assert store(door.port, [first, second]) == [SUCCESS, SUCCESS]
    reasons = {row["study_uid"]: row["held_reason"] for row in door.desk.rows(schema.study)}
    assert "2.25.4711" in reasons
    assert len(reasons) == 2
    for study_uid, reason in reasons.items():
        (other,) = reasons.keys() - {study_uid}
        assert reason.endswith(f"came in this study and in {other}")


def test_a_rejection_note_takes_an_image_out_of_use(
    door: Door, exam: list[Path], tmp_path: Path
) -> None:
    assert store(door.port, exam) == [SUCCESS] * 4
    rejected = dcmread(exam[0])
    note = tmp_path / "note.dcm"
    rejection_note([rejected]).save_as(note, enforce_file_format=True)
    assert store(door.port, [note]) == [SUCCESS]
    states = {row["sop_uid"]: row["state"] for row in door.desk.rows(schema.instance)}
    assert states.pop(rejected.SOPInstanceUID) == InstanceState.WITHDRAWN
    assert set(states.values()) == {"current"}
    assert "Rejected for Quality Reasons" in door.history()[-1]


def test_why_a_study_is_not_analysed_by_itself_is_kept_with_its_images(
    door: Door, tmp_path: Path
) -> None:
    phantom = changed(tmp_path / "1.dcm", lambda d: setattr(d, "QualityControlImage", "YES"))
    assert store(door.port, [phantom]) == [SUCCESS]
    (row,) = door.desk.rows(schema.instance)
    assert (
        row["intake"] == "phantom or quality control, not a patient (Quality Control Image is YES)"
    )


# Storage commitment reports


@contextmanager
def reporting(door: Door, *, role: bool = True) -> Iterator[Association]:
    """Open an association as an archive does that has to report."""
    roles = [build_role(StorageCommitmentPushModel, scp_role=True)] if role else []
    context = [build_context(StorageCommitmentPushModel)]
    with association(door.port, context, roles=roles) as opened:
        assert opened.is_established
        yield opened


def report(opened: Association, transaction_uid: str, *sop_uids: str, event_type: int = 1) -> int:
    """Send a storage commitment report; return the answer's status."""
    status, _ = opened.send_n_event_report(
        report_of(transaction_uid, sop_uids),
        event_type,
        StorageCommitmentPushModel,
        StorageCommitmentPushModelInstance,
    )
    return int(status.Status)


@pytest.mark.parametrize("role", [True, False])
def test_a_report_that_comes_hours_later_on_its_own_association_confirms_the_delivery(
    open_door: OpenDoor, role: bool
) -> None:
    door = open_door(modality(name="pacs", receives="default"))
    [job] = door.desk.analysed()
    shipment = door.desk.delivering.begin_dispatch(job, NODE)
    uids = [report.sop_uid for report in shipment.to_send]
    outcomes = [Outcome(sop_uid, DeliveryState.SENT) for sop_uid in uids]
    door.desk.delivering.record_sent(job, outcomes)
    door.desk.delivering.ask_commitment(job, "2.25.1")
    with reporting(door, role=role) as opened:
        assert report(opened, "2.25.1", *uids) == SUCCESS
        assert report(opened, "2.25.1", *uids) == SUCCESS  # repeats change nothing
    assert {row["state"] for row in door.desk.rows(schema.delivery)} == {DeliveryState.CONFIRMED}


def test_a_report_on_an_unknown_transaction_is_refused(door: Door) -> None:
    with reporting(door) as opened:
        assert report(opened, "2.25.4711", "2.25.1") == INVALID_ARGUMENT_VALUE


def test_a_report_that_makes_no_sense_is_refused(door: Door) -> None:
    with reporting(door) as opened:
        assert report(opened, "2.25.4711", "2.25.1", event_type=7) == INVALID_ARGUMENT_VALUE


def test_a_report_that_may_inflate_without_end_is_not_taken(door: Door) -> None:
    context = [build_context(StorageCommitmentPushModel, DeflatedExplicitVRLittleEndian)]
    with association(door.port, context) as opened:
        assert opened.accepted_contexts == []


def test_a_report_that_cannot_be_kept_may_be_repeated(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_disk(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("node.receive.listener.record_commitment", no_disk)
    with reporting(door) as opened:
        assert report(opened, "2.25.4711", "2.25.1") == PROCESSING_FAILURE


def test_whatever_goes_wrong_the_sender_gets_an_answer_and_nothing_is_left(
    door: Door, exam: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def defect(*args: object) -> None:
        raise KeyError("nobody thought of this")

    monkeypatch.setattr("node.receive.reception.describe", defect)
    assert store(door.port, exam[:1]) == [OUT_OF_RESOURCES]
    assert until(lambda: door.files("incoming") == [])


def test_a_peer_whose_address_cannot_be_judged_is_not_let_in(open_door: OpenDoor) -> None:
    opened = open_door(modality(host="pacs..local"))
    with association(opened.port, [build_context(Verification)]) as refused:
        assert refused.is_rejected


def test_another_patient_in_one_study_holds_it(door: Door, tmp_path: Path) -> None:
    def rename(dataset: Dataset) -> None:
        dataset.PatientID = "SOMEBODY-ELSE"
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID("2.25.77")

    paths = [
        changed(tmp_path / "1.dcm", lambda d: None),
        changed(tmp_path / "2.dcm", rename),
    ]
    assert store(door.port, paths) == [SUCCESS, SUCCESS]
    assert "disagree" in door.study()["held_reason"]


def test_padding_makes_no_other_patient(door: Door, tmp_path: Path) -> None:
    def pad(dataset: Dataset) -> None:
        dataset.PatientID = f" {dataset.PatientID} "
        del dataset.AccessionNumber
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID("2.25.77")

    store(
        door.port,
        [changed(tmp_path / "1.dcm", lambda d: None), changed(tmp_path / "2.dcm", pad)],
    )
    assert door.desk.rows(schema.study)[0]["state"] == "receiving"


def test_our_own_objects_are_kept_and_open_no_study(door: Door, tmp_path: Path) -> None:
    path = changed(tmp_path / "own.dcm", lambda d: setattr(d, "DeviceUID", identity.OWN_DEVICE_UID))
    assert store(door.port, [path]) == [SUCCESS]
    assert door.desk.rows(schema.instance)[0]["state"] == "own"
    assert door.desk.arrivals() == []


def test_an_association_that_brings_images_is_open_until_it_ends(
    door: Door, exam: list[Path]
) -> None:
    with association(door.port, contexts_of(exam)) as opened:
        opened.send_c_store(exam[0])
        assert door.desk.arrivals()[0].open_associations == 1
    assert until(lambda: door.desk.arrivals()[0].open_associations == 0)


# What is refused


def test_a_damaged_object_is_refused_and_kept_aside_with_the_reason(
    door: Door, tmp_path: Path
) -> None:
    path = changed(tmp_path / "damaged.dcm", lambda d: None)
    content = path.read_bytes()
    path.write_bytes(content[:900])
    assert store(door.port, [path]) == [CANNOT_UNDERSTAND]
    assert door.instances() == []
    kept, reason = sorted(door.files("unreadable"), key=lambda p: p.suffix)
    assert dataset_digest(kept) == dataset_digest(path)
    assert json.loads(reason.read_text())["reason"]
    assert until(lambda: door.files("incoming") == [])
    assert door.files("received") == []


def test_beside_a_damaged_object_lies_whose_it_was_and_the_log_names_its_sender(
    door: Door, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = changed(tmp_path / "damaged.dcm", lambda d: None)
    whole, content = dcmread(path), path.read_bytes()
    path.write_bytes(content[: content.index(str(whole.StudyInstanceUID).encode()) + 70])
    store(door.port, [path])
    (beside,) = [p for p in door.files("unreadable") if p.suffix == ".json"]
    about = json.loads(beside.read_text())
    assert datetime.fromisoformat(about.pop("came_at")).tzinfo is UTC
    assert about.pop("reason")
    assert about == {
        "peer": "modality",
        "is_acknowledged": False,
        "sop_class_uid": whole.SOPClassUID,
        "sop_instance_uid": whole.SOPInstanceUID,
        "study_instance_uid": whole.StudyInstanceUID,
    }
    assert "An object of modality is unreadable: " in caplog.text
    assert str(whole.PatientID) not in caplog.text


def test_an_object_without_a_study_is_refused(door: Door, tmp_path: Path) -> None:
    path = changed(tmp_path / "1.dcm", lambda d: d.__delattr__("StudyInstanceUID"))
    assert store(door.port, [path]) == [CANNOT_UNDERSTAND]
    (reason,) = [p for p in door.files("unreadable") if p.suffix == ".json"]
    assert json.loads(reason.read_text())["reason"] == "no Study Instance UID"


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI:UserWarning")
def test_a_hostile_study_uid_reaches_no_file_name(door: Door, tmp_path: Path) -> None:
    path = changed(tmp_path / "1.dcm", lambda d: setattr(d, "StudyInstanceUID", "../../../../etc"))
    assert store(door.port, [path]) == [CANNOT_UNDERSTAND]
    assert door.files("received") == []


def test_damage_of_one_object_does_not_stand_in_the_way_of_others(
    door: Door, tmp_path: Path, exam: list[Path]
) -> None:
    bad = changed(tmp_path / "1.dcm", lambda d: d.__delattr__("StudyInstanceUID"))
    assert store(door.port, [exam[1], bad, exam[2]]) == [SUCCESS, CANNOT_UNDERSTAND, SUCCESS]
    assert len(door.instances()) == 2


def test_a_full_disk_is_said_before_it_is_full(open_door: OpenDoor, exam: list[Path]) -> None:
    door = open_door(min_free_mb=1 << 40)
    assert store(door.port, exam[:1]) == [OUT_OF_RESOURCES]
    assert door.instances() == []
    assert until(lambda: door.files("incoming") == [])
    assert door.files("unreadable") == []


def test_a_store_that_cannot_be_written_is_told_to_the_sender(
    door: Door, exam: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    folder = door.store.root / "received"
    folder.rmdir()
    folder.write_text("in the way")
    assert store(door.port, exam[:1]) == [OUT_OF_RESOURCES]
    assert door.instances() == []
    folder.unlink()
    assert store(door.port, exam[:1]) == [SUCCESS]


# No row, no file


def test_an_object_whose_row_cannot_be_committed_leaves_no_file(
    door: Door, exam: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient(door.desk.ledger, monkeypatch)
    with association(door.port, contexts_of(exam)) as opened:
        assert opened.send_c_store(exam[0]).Status == SUCCESS
        with locked(door.desk.ledger):
            refused = [opened.send_c_store(exam[1]).Status for _ in range(3)]
        assert refused == [OUT_OF_RESOURCES] * 3
        assert len(door.files("received")) == 1
        assert opened.send_c_store(exam[1]).Status == SUCCESS
    assert len(door.files("received")) == len(door.instances()) == 2
    assert until(lambda: door.files("incoming") == [])


def test_a_defect_between_file_and_row_leaves_no_file(
    door: Door, exam: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def defect(*args: object) -> None:
        raise KeyError("nobody thought of this")

    monkeypatch.setattr("node.ledger.receiving.record_if_plain", defect)
    assert store(door.port, exam[:1]) == [OUT_OF_RESOURCES]
    assert door.files("received") == []


@pytest.mark.parametrize("is_committed", [True, False])
def test_where_nobody_knows_whether_the_row_is_there_the_file_stays(
    door: Door, exam: list[Path], is_committed: bool
) -> None:
    """A connection that breaks during COMMIT; the event stands for the network."""
    is_to_break = threading.Event()

    def break_once(connection: sa.Connection) -> None:
        is_write = connection.get_execution_options().get("is_write")
        if is_write and is_to_break.is_set():
            is_to_break.clear()
            if is_committed:
                driver = connection.connection.driver_connection
                assert driver is not None
                driver.commit()
            raise sa.exc.OperationalError("COMMIT", None, OSError("connection reset"))

    sa.event.listen(door.desk.ledger._writer, "commit", break_once)
    with association(door.port, contexts_of(exam)) as opened:
        assert opened.send_c_store(exam[0]).Status == SUCCESS
        is_to_break.set()
        assert opened.send_c_store(exam[1]).Status == OUT_OF_RESOURCES
        assert len(door.files("received")) == 2
        assert len(door.instances()) == 1 + is_committed
        assert opened.send_c_store(exam[1]).Status == SUCCESS
    assert len(door.instances()) == 2
    assert len(door.files("received")) == (2 if is_committed else 3)  # one for the inventory


def test_a_contradicting_object_that_cannot_be_put_away_leaves_no_file(
    door: Door, tmp_path: Path
) -> None:
    def repaint(dataset: Dataset) -> None:
        dataset.PixelData = bytes(reversed(dataset.PixelData))

    first = changed(tmp_path / "1.dcm", lambda d: None)
    other = changed(tmp_path / "2.dcm", repaint)
    assert store(door.port, [first]) == [SUCCESS]
    door.store.contradicting.rmdir()
    door.store.contradicting.write_text("in the way")
    assert store(door.port, [other]) == [OUT_OF_RESOURCES]
    assert len(door.files("received")) == 1


def test_no_success_for_a_file_that_went_while_its_row_was_written(
    door: Door, exam: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frozen for hours between the two, while another node's inventory went by."""
    place = Store.place

    def place_and_freeze(self: Store, *args: Any) -> str:
        relative = place(self, *args)
        self.orphan(relative)
        return relative

    with monkeypatch.context() as frozen:
        frozen.setattr(Store, "place", place_and_freeze)
        assert store(door.port, exam[:1]) == [OUT_OF_RESOURCES]
    assert store(door.port, exam[:1]) == [SUCCESS]
    (row,) = door.desk.rows(schema.instance)
    assert door.files("received") == [door.store.path(row["path"])]


# Presentation contexts


def test_a_sender_that_offers_both_is_asked_for_explicit_vr(door: Door) -> None:
    offered = [build_context(MG, [ImplicitVRLittleEndian, ExplicitVRLittleEndian])]
    with association(door.port, offered) as opened:
        assert opened.accepted_contexts[0].transfer_syntax == [ExplicitVRLittleEndian]


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, ImplicitVRLittleEndian])
def test_what_a_sender_offers_alone_is_taken(door: Door, syntax: str) -> None:
    with association(door.port, [build_context(MG, syntax)]) as opened:
        assert opened.accepted_contexts[0].transfer_syntax == [syntax]


def test_what_is_registered_as_no_storage_is_not_accepted(door: Door) -> None:
    offered = [build_context(StudyRootQueryRetrieveInformationModelFind), build_context(MG)]
    with association(door.port, offered) as opened:
        assert [c.abstract_syntax for c in opened.accepted_contexts] == [MG]
        assert opened.rejected_contexts[0].result == 3  # abstract syntax not supported


@pytest.mark.parametrize("make", [odd_classes.private_class, odd_classes.retired_class])
def test_an_object_of_a_class_nobody_knows_is_kept_with_its_study(
    door: Door, exam: list[Path], tmp_path: Path, make: Callable[[bytes], bytes]
) -> None:
    odd = tmp_path / "odd.dcm"
    odd.write_bytes(make(exam[1].read_bytes()))
    sent = [exam[0], odd, *exam[2:]]
    assert store(door.port, sent) == [SUCCESS] * 4
    rows = {row["sop_uid"]: row for row in door.desk.rows(schema.instance)}
    row = rows[str(dcmread(odd).SOPInstanceUID)]
    assert row["sop_class"] == dcmread(odd).SOPClassUID
    assert dataset_digest(door.store.path(row["path"])) == dataset_digest(odd)
    assert len(rows) == 4
    assert door.study()["held_reason"] is None


def test_an_object_that_is_of_no_study_is_kept_aside_and_stops_nobody(
    door: Door, exam: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "node.receive.reception")
    odd = tmp_path / "odd.dcm"
    odd.write_bytes(odd_classes.hanging_protocol(exam[1].read_bytes()))
    assert store(door.port, [exam[0], odd, *exam[2:]]) == [SUCCESS] * 4
    assert len(door.instances()) == 3
    kept, reason = sorted(door.files("unreadable"), key=lambda p: p.suffix)
    assert dataset_digest(kept) == dataset_digest(odd)
    about = json.loads(reason.read_text())
    assert about["reason"] == "Hanging Protocol Storage is of no study"
    assert (about["peer"], about["is_acknowledged"]) == ("modality", True)
    what = "An object of modality is of no study (Hanging Protocol Storage)"
    (record,) = [one for one in caplog.records if one.name == "node.receive.reception"]
    assert record.getMessage() == f"{what}; kept aside as {kept.name}"
    assert record.levelname == "INFO"
    assert until(lambda: door.files("incoming") == [])
    assert door.desk.rows(schema.damaged_object) == []


def test_an_object_that_says_another_class_than_was_negotiated_costs_its_neighbours_nothing(
    door: Door, exam: list[Path], tmp_path: Path
) -> None:
    odd = tmp_path / "odd.dcm"
    odd.write_bytes(odd_classes.private_class(exam[1].read_bytes()))
    with association(door.port, contexts_of(exam)) as opened:
        opened._reactor_checkpoint.clear()  # the answer is for us, not for the reactor
        for part in pdus_of(opened, odd, sop_class=odd_classes.PRIVATE_CLASS):
            opened.dul.send_pdu(part)
        _, answer = opened.dimse.get_msg(block=True)
        opened._reactor_checkpoint.set()
        assert answer is not None
        assert answer.Status == CANNOT_UNDERSTAND  # what it sent are no whole attributes
        assert opened.send_c_store(exam[2]).Status == SUCCESS


SERVICES: dict[str, Callable[[Association, Dataset, str], object]] = {
    "C-ECHO": lambda opened, dataset, uid: _echo_on(opened, uid),
    "C-FIND": lambda opened, dataset, uid: next(opened.send_c_find(dataset, uid))[0],
    "C-GET": lambda opened, dataset, uid: next(opened.send_c_get(dataset, uid))[0],
    "C-MOVE": lambda opened, dataset, uid: next(opened.send_c_move(dataset, "X", uid))[0],
    "N-ACTION": lambda opened, dataset, uid: opened.send_n_action(dataset, 1, uid, "1.2.3")[0],
    "N-CREATE": lambda opened, dataset, uid: opened.send_n_create(dataset, uid, "1.2.3")[0],
    "N-DELETE": lambda opened, dataset, uid: opened.send_n_delete(uid, "1.2.3"),
    "N-EVENT-REPORT": lambda opened, dataset, uid: opened.send_n_event_report(
        dataset, 1, uid, "1.2.3"
    )[0],
    "N-GET": lambda opened, dataset, uid: opened.send_n_get([Tag(0x00100020)], uid, "1.2.3")[0],
    "N-SET": lambda opened, dataset, uid: opened.send_n_set(dataset, uid, "1.2.3")[0],
}


def _echo_on(opened: Association, sop_class: str) -> Dataset:
    """Send a C-ECHO that names a class which is none of verification's."""
    request = C_ECHO()
    request.MessageID, request.AffectedSOPClassUID = 3, sop_class
    opened._reactor_checkpoint.clear()  # the answer is for us, not for the reactor
    opened.dimse.send_msg(request, 1)
    _, answer = opened.dimse.get_msg(block=True)
    opened._reactor_checkpoint.set()
    found = Dataset()
    if answer is not None:
        found.Status = answer.Status
    return found


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("sop_class", [odd_classes.PRIVATE_CLASS, odd_classes.STANDALONE_OVERLAY])
def test_another_service_than_storage_of_a_class_is_refused_and_the_next_mammogram_is_kept(
    door: Door, exam: list[Path], caplog: pytest.LogCaptureFixture, service: str, sop_class: str
) -> None:
    asked = Dataset()
    asked.PatientID = "NOBODY"
    with association(door.port, [build_context(sop_class), *contexts_of(exam)]) as opened:
        opened.accepted_contexts[0]._as_scp = True  # or pynetdicom itself sends no report
        for _ in range(2):
            answer = SERVICES[service](opened, asked, sop_class)
            status = CLASS_NOT_SUPPORTED if service[0] == "C" else UNRECOGNISED_OPERATION
            assert answer.Status == status  # type: ignore[attr-defined]
        assert opened.send_c_store(exam[0]).Status == SUCCESS
    assert len(door.instances()) == 1
    [line] = [r.getMessage() for r in caplog.records if r.name == "node.receive.mended"]
    assert line.startswith(f"MODALITY asked for {service} of ")
    assert str(sop_class) in line


def test_what_is_no_storage_is_not_stored_and_a_cancellation_of_nothing_is_passed_over(
    door: Door, exam: list[Path], tmp_path: Path
) -> None:
    with association(door.port, contexts_of(exam)) as opened:
        for number in range(12):  # pynetdicom would keep ten of them, and fall over the next
            opened.send_c_cancel(number, 1)
        opened._reactor_checkpoint.clear()
        for part in pdus_of(opened, exam[0], sop_class=StudyRootQueryRetrieveInformationModelFind):
            opened.dul.send_pdu(part)
        _, answer = opened.dimse.get_msg(block=True)
        opened._reactor_checkpoint.set()
        assert answer is not None
        assert answer.Status == CLASS_NOT_SUPPORTED
        assert door.files("incoming") == []
        assert opened.send_c_store(exam[2]).Status == SUCCESS


def test_what_cannot_come_in_any_transfer_syntax_is_logged_once_by_name(
    door: Door, exam: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    private = build_context(odd_classes.PRIVATE_CLASS, "1.2.3.4")
    with association(door.port, [private, *contexts_of(exam)]) as opened:
        assert opened.rejected_contexts[0].result == 4  # transfer syntaxes not supported
        assert opened.send_c_store(exam[0]).Status == SUCCESS
    [words] = [r.getMessage() for r in caplog.records if r.name == "node.receive.listener"]
    assert words == (
        "modality cannot send what it proposed in no transfer syntax that is read here: "
        f"{odd_classes.PRIVATE_CLASS} in 1.2.3.4"
    )


# Endings


def pdus_of(opened: Association, path: Path, sop_class: str = MG) -> Iterator[Any]:
    """Return the parts in which a file is sent by C-STORE, to be sent one by one."""
    request = C_STORE()
    request.MessageID = 2
    request.AffectedSOPClassUID = sop_class
    request.AffectedSOPInstanceUID = "1.2.3"
    request.Priority = 2
    header = len(path.read_bytes()) - factories.SMALL.rows * factories.SMALL.columns * 2
    request._dataset_path = (path, header // 4)
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    context_id = opened.accepted_contexts[0].context_id
    assert context_id is not None
    yield from message.encode_msg(context_id, 16384)


def test_an_association_that_ends_while_its_beginning_is_recorded_is_not_waited_for(
    door: Door, exam: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    has_begun, has_ended = threading.Event(), threading.Event()
    record = Receiving.open_association

    def record_slowly(self: Receiving, *args: str) -> None:
        record(self, *args)
        has_begun.set()
        assert has_ended.wait(30)

    monkeypatch.setattr(Receiving, "open_association", record_slowly)
    with association(door.port, contexts_of(exam)) as opened:
        for pdata in pdus_of(opened, exam[0]):
            opened.dul.send_pdu(pdata)
        assert has_begun.wait(30)
        opened.abort()
        has_ended.set()
    assert until(lambda: door.desk.rows(schema.association)[0]["closed_at"] is not None)
    assert until(lambda: door.files("incoming") == [])


def test_a_sender_that_breaks_off_leaves_nothing_half_and_keeps_what_was_answered(
    door: Door, exam: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    with association(door.port, contexts_of(exam)) as opened:
        assert opened.send_c_store(exam[0]).Status == SUCCESS
        for number, pdata in enumerate(pdus_of(opened, exam[1])):
            opened.dul.send_pdu(pdata)
            if number == 3:  # the command and a part of the data set
                break
        assert until(lambda: len(door.files("incoming")) == 1)
        opened.abort()
    assert until(lambda: door.files("incoming") == [])
    assert door.instances() == [factories.exam()[0].SOPInstanceUID]
    assert until(lambda: door.desk.arrivals()[0].open_associations == 0)
    assert "1 objects of it are kept, one came half" in caplog.text


def test_a_node_whose_folder_was_taken_while_it_was_frozen_answers_no_success_and_recovers(
    door: Door, exam: list[Path]
) -> None:
    """Others take it for dead, and remove what it had half received."""
    with association(door.port, contexts_of(exam)) as opened:
        opened._reactor_checkpoint.clear()  # the answer is for us, not for the reactor
        parts = list(pdus_of(opened, exam[0]))
        for part in parts[:4]:
            opened.dul.send_pdu(part)
        assert until(lambda: len(door.files("incoming")) == 1)
        Store(door.store.root, "another").remove_leftovers({door.store.node_id})
        for part in parts[4:]:
            opened.dul.send_pdu(part)
        _, answer = opened.dimse.get_msg(block=True)
        opened._reactor_checkpoint.set()
        assert answer is not None
        assert answer.Status == OUT_OF_RESOURCES
        assert opened.send_c_store(exam[0]).Status == OUT_OF_RESOURCES  # there is no folder yet
        door.store.prepare()  # as with the next heartbeat
        assert opened.send_c_store(exam[0]).Status == SUCCESS
    assert store(door.port, exam) == [SUCCESS] * len(exam)
    assert len(door.instances()) == len(exam)


def test_stopping_waits_for_a_sender_in_the_middle_and_lets_nobody_else_in(
    door: Door, exam: list[Path]
) -> None:
    with association(door.port, contexts_of(exam)) as opened:
        assert opened.send_c_store(exam[0]).Status == SUCCESS
        port = door.port
        stopping = threading.Thread(target=door.listener.stop, args=[60])
        stopping.start()
        assert until(lambda: not lets_in(port))
        assert opened.send_c_store(exam[1]).Status == SUCCESS
    stopping.join()
    assert len(door.instances()) == 2
    assert tempfile.tempdir is None


def test_stopping_does_not_wait_for_ever(door: Door, exam: list[Path]) -> None:
    with association(door.port, contexts_of(exam)) as opened:
        opened.send_c_store(exam[0])
        begun = time.monotonic()
        door.listener.stop(0.2)
        assert time.monotonic() - begun < 5
        assert until(lambda: not opened.is_established)
    assert until(lambda: door.desk.arrivals()[0].open_associations == 0)


def test_a_port_that_is_taken_is_named(open_door: OpenDoor, store: Store, ledger: Ledger) -> None:
    taken = open_door().port
    settings = config.Config(
        node=config.Node(ae_title="AINODE", state_dir=store.root),
        listener=config.ListenerSettings(host="127.0.0.1", port=taken),
    )
    reception = Reception(Current(settings), store, Receiving(ledger), is_mammogram)
    committer = Committer(Current(settings), store, Committing(ledger), lambda: {store.node_id})
    second = Listener(Current(settings), store.incoming, Delivering(ledger), reception, committer)
    former = tempfile.tempdir
    with pytest.raises(ConfigError, match=rf"127\.0\.0\.1:{taken}"):
        second.start()
    assert tempfile.tempdir == former, "where nobody will receive, nobody else need write"


@pytest.mark.parametrize("host", ["192.0.2.7", "a..b"])
def test_a_host_that_is_not_of_this_machine_is_named(open_door: OpenDoor, host: str) -> None:
    temporary = tempfile.gettempdir()
    with pytest.raises(ConfigError, match=rf"cannot listen on {host}:0"):
        open_door(host=host)
    assert tempfile.gettempdir() == temporary, "who cannot listen leaves the process as it was"


def test_that_nobody_listens_any_more_is_noticed_whatever_threads_are_called(
    open_door: OpenDoor, nameless_threads: None
) -> None:
    listener = open_door().listener
    assert not listener.has_died
    assert listener._server is not None
    socketserver.BaseServer.shutdown(listener._server)  # its loop ends, and nobody has asked
    assert until(lambda: listener.has_died)


def test_of_two_peers_with_one_ae_title_the_one_that_sends_is_meant(
    open_door: OpenDoor, exam: list[Path]
) -> None:
    door = open_door(modality(name="results", sends=False), modality(name="images"))
    assert store(door.port, exam[:1], MODALITY_AE) == [SUCCESS]
    assert door.desk.rows(schema.study)[0]["sender"] == "images"
