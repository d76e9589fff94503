"""Command sets of C-STORE: read as pynetdicom reads them, written as it writes them."""

from __future__ import annotations

import struct
from io import BytesIO
from typing import Any

import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import UID
from pynetdicom.dimse_messages import C_STORE_RQ, C_STORE_RSP
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu import P_DATA_TF

from node.dimse.c_store import StoreRequest, answering, read_store_request

MG, SOP = b"1.2.840.10008.5.1.4.1.1.1.2", b"1.2.826.0.1.3680043.8.498.7"
UIDS = st.lists(st.integers(0, 10**9), min_size=2, max_size=6).map(
    lambda parts: ".".join(map(str, parts)).encode()
)
NUMBERS = st.integers(0, 0xFFFF)


def element(number: int, value: bytes, group: int = 0) -> bytes:
    return struct.pack("<HHL", group, number, len(value)) + value


def us(number: int) -> bytes:
    return struct.pack("<H", number)


PLAIN = {
    0x0002: MG + b"\0",
    0x0100: us(1),
    0x0110: us(7),
    0x0700: us(2),
    0x0800: us(0x0102),
    0x1000: SOP + b"\0",
}


def command(changes: dict[int, bytes | None] | None = None) -> bytes:
    """Return a request with something changed, added or (None) left out."""
    found = {**PLAIN, **(changes or {})}
    behind = b"".join(element(tag, v) for tag, v in sorted(found.items()) if v is not None)
    return element(0, struct.pack("<L", len(behind))) + behind


@settings(max_examples=examples(100))
@given(
    sop_class=UIDS,
    sop_instance=UIDS,
    message_id=NUMBERS,
    priority=st.integers(0, 2),
    originator=st.none() | st.sampled_from(["MODALITY", "A B", "X" * 16]),
)
def test_what_pynetdicom_sends_is_read(
    sop_class: bytes, sop_instance: bytes, message_id: int, priority: int, originator: str | None
) -> None:
    request = C_STORE()
    request.MessageID, request.Priority = message_id, priority
    request.AffectedSOPClassUID = UID(sop_class.decode())
    request.AffectedSOPInstanceUID = UID(sop_instance.decode())
    request.DataSet = BytesIO(b"data")
    if originator is not None:
        request.MoveOriginatorApplicationEntityTitle = originator
        request.MoveOriginatorMessageID = message_id
    assert read_store_request(_encoded(C_STORE_RQ(), request)) == StoreRequest(
        message_id, sop_class, sop_instance
    )


@settings(max_examples=examples(100))
@given(sop_class=UIDS, sop_instance=UIDS, message_id=NUMBERS, context_id=st.integers(0, 127))
@pytest.mark.parametrize("status", [0x0000, 0xA700, 0xC000, 0x0124])
def test_an_answer_is_byte_for_byte_what_pynetdicom_would_send(
    status: int, sop_class: bytes, sop_instance: bytes, message_id: int, context_id: int
) -> None:
    response = C_STORE()
    response.MessageIDBeingRespondedTo, response.Status = message_id, status
    response.AffectedSOPClassUID = UID(sop_class.decode())
    response.AffectedSOPInstanceUID = UID(sop_instance.decode())
    message = C_STORE_RSP()
    message.primitive_to_message(response)
    [part] = message.encode_msg(2 * context_id + 1, 16384)
    request = StoreRequest(message_id, sop_class, sop_instance)
    assert answering(request, status, 2 * context_id + 1) == P_DATA_TF(part).encode()


def test_the_plain_request_is_read() -> None:
    assert read_store_request(command()) == StoreRequest(7, MG, SOP)


@pytest.mark.parametrize(
    "changes",
    [
        *({tag: None} for tag in PLAIN),
        {0x0100: us(0x0030)},  # C-ECHO
        {0x0100: us(0x8001)},  # an answer
        {0x0800: us(0x0101)},  # no data set
        {0x0700: us(3)},  # no such priority
        {0x0110: b"\1\0\0\0"},  # a number of four bytes
        {0x0110: b""},
        {0x1000: b""},
        {0x1000: b"1.2.3 "},  # padded with a space
        {0x1000: b"1.2.03\0\0"},
        {0x1000: b"1.2\\1.3"},  # two values
        {0x1000: b"1." * 33 + b"1\0"},  # 67 characters
        {0x1000: b"../../etc/passwd"},
        {0x1030: b"  "},
        {0x1030: b"A\\B "},
        {0x1030: b"M\xc4"},
        {0x0001: b"\0\0\0\0"},  # Length to End, retired
        {0x0902: b"why "},
    ],
)
def test_a_request_that_is_odd_is_left_to_pynetdicom(changes: dict[int, bytes | None]) -> None:
    assert read_store_request(command(changes)) is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        command()[:-1],
        command() + b"\0",
        command() + element(0x0010, b"", group=8),
        command()[12:],  # no group length
        element(0, struct.pack("<L", 3)) + command()[12:],  # another
        element(0, struct.pack("<L", 10)) + element(0x1000, SOP + b"\0") + command()[12:],
    ],
)
def test_bytes_that_make_no_plain_command_set_are_left_to_pynetdicom(content: bytes) -> None:
    assert read_store_request(content) is None


@settings(max_examples=examples(300))
@given(st.binary(max_size=200), st.integers(0, 200), st.integers(0, 200))
def test_whatever_comes_nothing_is_raised(content: bytes, begin: int, end: int) -> None:
    plain = command()
    read_store_request(content)
    read_store_request(plain[:begin] + content + plain[end:])


def _encoded(message: Any, primitive: C_STORE) -> bytes:
    message.primitive_to_message(primitive)
    [part, _] = message.encode_msg(1, 16384)
    return bytes(part.presentation_data_value_list[0][1][1:])
