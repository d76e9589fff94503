"""Objects are sent as their bytes lie on disk, and each answer is understood."""

from __future__ import annotations

import copy
import struct
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import factories
import numpy as np
import pytest
from factories import R_CC
from odd_conversion import LATIN_1_NAME, values_no_encoder_writes, values_of
from peers import BREAK_OFF, Pacs, refused_connections
from ports import free_port
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.uid import (
    JPEG2000,
    UID,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
    RLELossless,
)
from pynetdicom import AllStoragePresentationContexts

from node.dicom.part10 import data_set_begins_at
from node.dimse import Address, SendOutcome, echo, send, send_each
from node.errors import DeliveryError, Superseded, Unreadable
from node.identity import stable_uid
from node.store import dataset_digest

from .places import address

MAMMOGRAM = factories.exam(views=[R_CC])[0]

OpenPacs = Callable[..., Pacs]


@pytest.fixture(scope="module")
def exam(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return factories.saved_exam(tmp_path_factory.mktemp("exam"))


def small(path: Path, sop_class: str, syntax: str = ExplicitVRLittleEndian) -> Path:
    """Write an object of a class and a transfer syntax; what is in it does not matter."""
    dataset = copy.deepcopy(MAMMOGRAM)
    dataset.SOPInstanceUID = stable_uid(path.stem)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = UID(sop_class)
    if syntax == RLELossless:
        dataset.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
    else:
        dataset.PixelData = b""
    dataset.save_as(path, enforce_file_format=True)
    return path


def part_10(dataset: Dataset) -> bytes:
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def in_syntax(content: bytes, syntax: UID) -> bytes:
    """Return a Part 10 file of Explicit VR in another syntax of that, its values untouched."""
    dataset = dcmread(BytesIO(content))
    dataset.file_meta.TransferSyntaxUID = syntax
    return part_10(dataset)


@pytest.fixture
def nobody() -> int:
    """A port at which nobody listens."""
    return free_port()


def test_every_byte_of_the_data_set_arrives(pacs: Pacs, exam: list[Path], tmp_path: Path) -> None:
    outcomes = send(exam, address(pacs), "AINODE")
    assert outcomes == [SendOutcome(path, "sent") for path in exam]
    for path, received in zip(exam, pacs.received, strict=True):
        arrived = tmp_path / "arrived.dcm"
        arrived.write_bytes(received.content)
        assert dataset_digest(arrived) == dataset_digest(path)
        assert received.syntax == ExplicitVRLittleEndian
        assert received.calling_ae == "AINODE"
    assert pacs.associations == 1


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_a_transfer_syntax_that_a_data_set_names_for_itself_decides_nothing(
    open_pacs: OpenPacs, exam: list[Path], tmp_path: Path, syntax: UID
) -> None:
    content = exam[0].read_bytes()
    with exam[0].open("rb") as file:
        begins_at = data_set_begins_at(file)
    named = struct.pack("<HH2sH", 2, 0x10, b"UI", 22) + JPEG2000.encode()
    odd, arrived = tmp_path / "odd.dcm", tmp_path / "arrived.dcm"
    odd.write_bytes(content[:begins_at] + named + content[begins_at:])
    pacs = open_pacs("PACS", syntaxes=[syntax])
    assert [outcome.state for outcome in send([odd], address(pacs), "AINODE")] == ["sent"]
    (received,) = pacs.received
    assert received.syntax == syntax
    arrived.write_bytes(received.content)
    if syntax == ExplicitVRLittleEndian:
        assert dataset_digest(arrived) == dataset_digest(odd)
    else:  # converted
        assert dcmread(arrived) == dcmread(exam[0])


def test_each_answer_is_told_as_it_comes(pacs: Pacs, exam: list[Path]) -> None:
    told: list[tuple[Path, int]] = []
    send(exam, address(pacs), "AINODE", lambda o: told.append((o.path, len(pacs.received))))
    assert told == [(path, number) for number, path in enumerate(exam, start=1)]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_who_sends_is_asked_before_each_object_and_may_stop(
    pacs: Pacs, exam: list[Path], count: int
) -> None:
    def stop() -> None:
        if len(pacs.received) == count:
            raise Superseded("enough")

    told: list[SendOutcome] = []
    with pytest.raises(Superseded):
        for outcome in send_each(exam, address(pacs), "AINODE", stop):
            told.append(outcome)
    assert told == [SendOutcome(path, "sent") for path in exam[:count]]
    assert len(pacs.received) == count
    assert pacs.released.wait(5)
    assert pacs.associations == 1


def test_compressed_objects_stay_compressed(open_pacs: OpenPacs, tmp_path: Path) -> None:
    pacs = open_pacs(syntaxes=[ImplicitVRLittleEndian, RLELossless])
    path = small(tmp_path / "rle.dcm", CTImageStorage, RLELossless)
    assert [outcome.state for outcome in send([path], address(pacs), "AINODE")] == ["sent"]
    assert pacs.received[0].syntax == RLELossless


def test_an_archive_that_takes_nothing_but_the_default_syntax_gets_it(
    open_pacs: OpenPacs, exam: list[Path]
) -> None:
    pacs = open_pacs(syntaxes=[ImplicitVRLittleEndian])
    outcomes = send(exam, address(pacs), "AINODE")
    assert {outcome.state for outcome in outcomes} == {"sent"}
    for original, received in zip(factories.exam(), pacs.received, strict=True):
        assert received.syntax == ImplicitVRLittleEndian
        got = received.read()
        assert got.PatientName == original.PatientName
        assert np.array_equal(got.pixel_array, original.pixel_array)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_what_is_converted_for_an_archive_keeps_the_bytes_of_every_value(
    open_pacs: OpenPacs, tmp_path: Path, syntax: UID
) -> None:
    path = tmp_path / "odd.dcm"
    path.write_bytes(in_syntax(values_no_encoder_writes(part_10(MAMMOGRAM)), syntax))
    pacs = open_pacs(syntaxes=[ImplicitVRLittleEndian])
    assert send([path], address(pacs), "AINODE") == [SendOutcome(path, "sent")]
    [received] = pacs.received
    assert received.syntax == ImplicitVRLittleEndian
    expected = values_of(dcmread(path))
    assert expected[0x00100010] == LATIN_1_NAME
    assert values_of(received.read()) == expected


def test_big_endian_numbers_are_the_same_numbers_in_the_default_syntax(
    open_pacs: OpenPacs, tmp_path: Path
) -> None:
    path = tmp_path / "big.dcm"
    big = dcmread(BytesIO(part_10(MAMMOGRAM)))
    big.PixelData = big.pixel_array.byteswap().tobytes()  # pydicom swaps numbers, but not these
    big.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    dcmwrite(path, big, implicit_vr=False, little_endian=False, force_encoding=True)
    pacs = open_pacs(syntaxes=[ImplicitVRLittleEndian])
    assert send([path], address(pacs), "AINODE") == [SendOutcome(path, "sent")]
    got = pacs.received[0].read()
    assert (got.Rows, got.Columns) == (MAMMOGRAM.Rows, MAMMOGRAM.Columns)
    assert np.array_equal(got.pixel_array, MAMMOGRAM.pixel_array)


def test_what_cannot_be_converted_is_refused_and_the_others_are_sent(
    open_pacs: OpenPacs, exam: list[Path], tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged.dcm"
    damaged.write_bytes(exam[1].read_bytes()[:-1])
    pacs = open_pacs(syntaxes=[ImplicitVRLittleEndian])
    outcomes = send([exam[0], damaged, *exam[2:]], address(pacs), "AINODE")
    assert [outcome.state for outcome in outcomes] == ["sent", "refused", "sent", "sent"]
    assert outcomes[1].words == (
        "PACS takes Implicit VR alone, to which it cannot be converted: it ends in the middle of "
        "an attribute"
    )


def test_a_kind_of_object_that_is_not_accepted_is_refused_for_good(
    open_pacs: OpenPacs, tmp_path: Path
) -> None:
    pacs = open_pacs(sop_classes=[CTImageStorage])
    paths = [small(tmp_path / "mr.dcm", MRImageStorage), small(tmp_path / "ct.dcm", CTImageStorage)]
    refused, sent = send(paths, address(pacs), "AINODE")
    assert refused == SendOutcome(
        paths[0], "refused", "PACS accepts no MR Image Storage in Explicit VR Little Endian"
    )
    assert sent == SendOutcome(paths[1], "sent")


def test_a_compression_that_is_not_accepted_is_refused_for_good(pacs: Pacs, tmp_path: Path) -> None:
    paths = [
        small(tmp_path / "rle.dcm", CTImageStorage, RLELossless),
        small(tmp_path / "plain.dcm", CTImageStorage),
    ]
    refused, sent = send(paths, address(pacs), "AINODE")
    assert (refused.state, refused.words) == (
        "refused",
        "PACS accepts no CT Image Storage in RLE Lossless",
    )
    assert sent.state == "sent"


@pytest.mark.parametrize(
    ("status", "state", "words"),
    [
        (0x0000, "sent", ""),
        (0x0111, "sent", "stored with warning 0x0111"),
        (0xB000, "sent", "stored with warning 0xB000"),
        (0xB007, "sent", "stored with warning 0xB007"),
        (0xA700, "queued", "PACS answered 0xA700"),
        (0xA900, "queued", "PACS answered 0xA900"),
        (0xC000, "queued", "PACS answered 0xC000"),
        (0x0124, "queued", "PACS answered 0x0124"),
    ],
)
def test_a_status_is_understood(
    pacs: Pacs, exam: list[Path], status: int, state: str, words: str
) -> None:
    pacs.answer = lambda received: status
    (outcome,) = send(exam[:1], address(pacs), "AINODE")
    assert (outcome.state, outcome.words) == (state, words)


def test_a_failure_of_one_object_does_not_stop_the_others(pacs: Pacs, exam: list[Path]) -> None:
    statuses = iter([0x0000, 0xA700, 0x0000, 0x0000])
    pacs.answer = lambda received: next(statuses)
    outcomes = send(exam, address(pacs), "AINODE")
    assert [outcome.state for outcome in outcomes] == ["sent", "queued", "sent", "sent"]


@refused_connections
def test_where_nobody_listens_the_error_says_where(nobody: int, exam: list[Path]) -> None:
    with pytest.raises(DeliveryError, match=rf"^PACS at 127\.0\.0\.1:{nobody} cannot be reached"):
        send(exam, Address("PACS", "127.0.0.1", nobody, timeout_s=5), "AINODE")


def test_an_archive_that_breaks_off_leaves_the_rest_for_another_try(
    pacs: Pacs, exam: list[Path]
) -> None:
    statuses = iter([0x0000, BREAK_OFF])
    pacs.answer = lambda received: next(statuses)
    outcomes = send(exam, address(pacs), "AINODE")
    assert [outcome.state for outcome in outcomes] == ["sent", "queued", "queued", "queued"]
    assert outcomes[-1].words == "PACS ended the association"


def test_more_kinds_than_an_association_can_offer_still_go(
    open_pacs: OpenPacs, tmp_path: Path
) -> None:
    classes = [str(c.abstract_syntax) for c in AllStoragePresentationContexts[:70]]
    pacs = open_pacs()
    paths = [small(tmp_path / f"{n}.dcm", sop_class) for n, sop_class in enumerate(classes)]
    paths.append(small(tmp_path / "again.dcm", classes[0]))
    outcomes = send(paths, address(pacs), "AINODE")
    assert outcomes == [SendOutcome(path, "sent") for path in paths]
    assert {received.sop_class for received in pacs.received} == set(classes)
    assert pacs.associations == 2


@refused_connections
def test_what_was_sent_counts_even_if_the_next_association_cannot_be_had(
    open_pacs: OpenPacs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.dimse.store._PAIRS_PER_ASSOCIATION", 2)
    classes = [str(c.abstract_syntax) for c in AllStoragePresentationContexts[:3]]
    pacs = open_pacs()
    paths = [small(tmp_path / f"{n}.dcm", sop_class) for n, sop_class in enumerate(classes)]

    def close_after_two(_: object) -> int:
        if len(pacs.received) == 1:
            pacs.stop_accepting()
        return 0x0000

    pacs.answer = close_after_two
    outcomes = send(paths, address(pacs), "AINODE")
    assert [outcome.state for outcome in outcomes] == ["sent", "sent", "queued"]
    assert "cannot be reached" in outcomes[-1].words


def test_nothing_to_send_needs_no_association(nobody: int) -> None:
    assert send([], Address("PACS", "127.0.0.1", nobody), "AINODE") == []


def test_an_archive_answers_an_echo(pacs: Pacs) -> None:
    echo(address(pacs), "AINODE")


@refused_connections
def test_an_echo_that_nobody_answers_says_where(nobody: int) -> None:
    with pytest.raises(DeliveryError, match=rf"PACS at 127\.0\.0\.1:{nobody} cannot be reached"):
        echo(Address("PACS", "127.0.0.1", nobody, timeout_s=5), "AINODE")


def test_an_archive_that_does_not_know_us_is_understood(open_pacs: OpenPacs) -> None:
    pacs = open_pacs(knows=["SOMEBODY"])
    with pytest.raises(DeliveryError, match="does not know AINODE"):
        echo(address(pacs), "AINODE")


def test_a_file_that_only_looks_like_dicom_is_named(pacs: Pacs, tmp_path: Path) -> None:
    path = tmp_path / "odd.dcm"
    path.write_bytes(bytes(128) + b"DICM" + b"and then nothing of the kind")
    with pytest.raises(Unreadable, match=r"odd\.dcm"):
        send([path], address(pacs), "AINODE")


def test_a_host_name_nobody_knows_is_said_in_words(exam: list[Path]) -> None:
    with pytest.raises(DeliveryError, match=r"cannot be reached: the host name is not known"):
        send(exam[:1], Address("PACS", "nohost.invalid", 104), "AINODE")
