"""What is read of the first message on a connection."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator

import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from odd_requests import CLASS, LENGTH, ODD, PLAIN, context, item, request
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from node.dimse.request import NoRequest, NothingSaid, hear, read_request


def is_read_by_pynetdicom(content: bytes) -> bool:
    """Return whether pynetdicom itself would not abort the request: then ours is not needed."""
    try:
        pdu = A_ASSOCIATE_RQ()
        pdu.decode(content)
        pdu.to_primitive()
    except Exception:  # noqa: BLE001 - whatever it is, it aborts
        return False
    return pdu.called_ae_title == "AINODE" and pdu.protocol_version == 1


@pytest.mark.parametrize("name", ODD)
def test_what_is_odd_about_a_request_is_passed_over(name: str) -> None:
    read = read_request(ODD[name])
    assert (read.calling_ae, read.called_ae, read.is_version_1) == ("MODALITY", "AINODE", True)
    pdu = read.pdu()
    assert pdu.called_ae_title == "AINODE"
    [proposed] = pdu.to_primitive().presentation_context_definition_list
    assert proposed.abstract_syntax == Verification
    assert proposed.transfer_syntax == [ImplicitVRLittleEndian]


@pytest.mark.parametrize("name", ODD)
def test_pynetdicom_still_gives_up_such_requests(name: str) -> None:
    """If this fails, a new pynetdicom reads them, and this part of ours may go."""
    assert not is_read_by_pynetdicom(ODD[name])


def test_a_uid_with_padding_is_the_uid() -> None:
    padded = context(1, Verification.encode() + b"\0")
    [proposed] = (
        read_request(request(padded)).pdu().to_primitive().presentation_context_definition_list
    )
    assert proposed.abstract_syntax == Verification


@pytest.mark.parametrize(
    ("title", "read"),
    [
        (b"MODALITY\0rest", "MODALITY"),
        (b"  MODALITY ", "MODALITY"),
        (b"M\xc4\x1b[2J\\", "M??[2J?"),
        (b"\0", "?"),
        (b" ", "?"),
    ],
)
def test_an_ae_title_ends_at_a_nul_and_shows_no_control_characters(title: bytes, read: str) -> None:
    assert read_request(request(PLAIN, calling=title)).calling_ae == read
    assert read_request(request(PLAIN, calling=title)).pdu().calling_ae_title == read


@settings(max_examples=examples(500))
@given(st.binary(max_size=300))
def test_whatever_comes_is_a_request_or_is_not(content: bytes) -> None:
    body = struct.pack(">HH", 1, 0) + bytes(64) + content
    try:
        read_request(b"\x01\0" + struct.pack(">L", len(body)) + body).pdu()
    except NoRequest as error:
        assert str(error).startswith("an association request ")


@pytest.fixture
def line() -> Iterator[tuple[socket.socket, socket.socket]]:
    here, there = socket.socketpair()
    with here, there:
        yield here, there


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", "TLS"),
        (b"GET / HTTP/1.1\r\n\r\n", "HTTP"),
        (b"\x0bMSH|^~\\&|A|B\r", r"HL7 \(MLLP\)"),
        (b"SSH-2.0-x\r\n", "SSH"),
        (b"\x04\0\0\0\0\x06\0\0\0\x02\x01\x03", r"out of turn \(PDU type 04H\)"),
        (b"\xff\xff", "its first byte is FFH"),
        (b"\x01\0\0\0\0\x04\0\0\0\0", "an association request of 4 bytes"),
        (b"\x01\0\xff\xff\xff\xff", "an association request of 4294967295 bytes"),
        (ODD["unknown item"][:-3], "a part of an association request"),
    ],
)
def test_what_is_no_request_is_named(
    line: tuple[socket.socket, socket.socket], said: bytes, words: str
) -> None:
    here, there = line
    there.sendall(said)
    there.shutdown(socket.SHUT_WR)
    with pytest.raises(NoRequest, match=words):
        hear(here, 20)


def test_who_says_nothing_is_not_waited_for_for_long(
    line: tuple[socket.socket, socket.socket],
) -> None:
    with pytest.raises(NothingSaid):
        hear(line[0], 0.01)


def test_a_request_may_come_in_parts(line: tuple[socket.socket, socket.socket]) -> None:
    here, there = line
    content = request(PLAIN, item(0x50, LENGTH + CLASS))

    def speak_slowly() -> None:
        for one in content:
            there.sendall(bytes([one]))

    speaking = threading.Thread(target=speak_slowly)
    speaking.start()
    assert hear(here, 20).calling_ae == "MODALITY"
    speaking.join()


@pytest.mark.parametrize("more", [0, 3000], ids=["short", "too long to be remembered"])
def test_a_request_that_comes_again_is_read_alike_and_what_is_made_of_it_may_be_changed(
    more: int,
) -> None:
    content = request(PLAIN, *[item(0x60, bytes(20))] * more, item(0x50, LENGTH + CLASS))
    first = read_request(content).pdu().to_primitive()
    first.result = 1
    first.calling_ae_title = "OTHER"
    again = read_request(content).pdu().to_primitive()
    assert (again.result, again.calling_ae_title) == (None, "MODALITY")
    [proposed] = again.presentation_context_definition_list
    assert proposed.abstract_syntax == Verification


def test_requests_of_two_senders_are_told_apart() -> None:
    both = [read_request(request(PLAIN, calling=one)).pdu() for one in (b"FIRST", b"SECOND")]
    assert [one.to_primitive().calling_ae_title for one in both] == ["FIRST", "SECOND"]
