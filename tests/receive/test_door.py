"""Who finds room, what is said of those who do not, and who is said to have ended it."""

from __future__ import annotations

import logging
import re
import resource
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from odd_requests import CLASS, LENGTH, ODD, PLAIN, item, request
from peers import MODALITY_AE, association, contexts_of, modality, store
from pydicom.filereader import read_file_meta_info
from pydicom.uid import DigitalMammographyXRayImageStorageForPresentation
from pynetdicom import build_context
from pynetdicom.association import Association
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE, N_EVENT_REPORT
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]
from pynetdicom.transport import AssociationSocket

from node.dicom.part10 import data_set_begins_at
from node.dimse import Address, Rejected, echo
from node.dimse.status import OUT_OF_RESOURCES, SUCCESS
from node.errors import DeliveryError
from node.receive import door as door_module

from .doors import Door, OpenDoor, until

OTHER_AE = "OTHER"
ABORT = b"\x07\0\0\0\0\x04"
ECHO = [build_context(Verification)]


def lines(caplog: pytest.LogCaptureFixture, logger: str = "node.receive") -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name.startswith(logger)]


def connect(door: Door, whence: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(
        ("127.0.0.1", door.port), timeout=30, source_address=(whence, 0)
    )


def answer_to(door: Door, said: bytes) -> bytes:
    """Say something, and return all that comes back until the other side closes or waits."""
    with connect(door) as caller:
        caller.sendall(said)
        answer = caller.recv(6)
        if answer[:1] == b"\x02":
            caller.sendall(b"\x05\0\0\0\0\x04\0\0\0\0")  # A-RELEASE-RQ
        return answer


# What is not an association request, and what is one all the same


@pytest.mark.parametrize("name", ODD)
def test_an_odd_request_of_a_known_peer_is_accepted(
    door: Door, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    assert answer_to(door, ODD[name])[:1] == b"\x02", "A-ASSOCIATE-AC"
    assert until(lambda: not door.listener._sessions)
    assert lines(caplog) == []


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03", "TLS"),
        (b"GET / HTTP/1.1\r\nHost: ainode\r\n\r\n", "HTTP"),
        (b"\x0bMSH|^~\\&|HIS|DOE^JANE\r\x1c\r", "HL7 (MLLP)"),
    ],
)
def test_another_protocol_on_the_port_is_named_once_a_minute(
    door: Door, caplog: pytest.LogCaptureFixture, said: bytes, kind: str
) -> None:
    for _ in range(3):
        assert answer_to(door, said) == ABORT
    assert lines(caplog) == [
        f"Closed a connection from 127.0.0.1: it sent {kind}, "
        "and this port is for DICOM without TLS"
    ]
    echo(Address("AINODE", "127.0.0.1", door.port), MODALITY_AE)


def test_a_request_that_makes_no_sense_is_named(
    door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    assert answer_to(door, request(PLAIN, b"\x50\0\xff\xff")) == ABORT
    [line] = lines(caplog)
    assert "it sent an association request with items that are not whole" in line


def test_a_version_of_the_protocol_that_nobody_knows_is_rejected(
    door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    with connect(door) as caller:
        caller.sendall(request(PLAIN, item(0x50, LENGTH + CLASS), version=2))
        assert caller.recv(10) == b"\x03\0\0\0\0\x04\0\x01\x02\x02"
    assert "an unknown version of the protocol" in lines(caplog)[0]


def test_an_ae_title_of_any_bytes_is_rejected_as_unknown(
    door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    with connect(door) as caller:
        caller.sendall(request(PLAIN, item(0x50, LENGTH + CLASS), calling=b"M\xc4\x1bX"))
        assert caller.recv(10) == b"\x03\0\0\0\0\x04\0\x01\x01\x03"
    assert lines(caplog)[0].startswith("Rejected M??X from 127.0.0.1: no peer has this AE title")


def test_who_asks_again_and_again_is_logged_once_a_minute(
    door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        with pytest.raises(Rejected):
            echo(Address("AINODE", "127.0.0.1", door.port), "STRANGER")
    assert len(lines(caplog)) == 1


# Room


@contextmanager
def silent(door: Door, count: int, whence: str = "127.0.0.1") -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        yield [stack.enter_context(connect(door, whence)) for _ in range(count)]


@pytest.mark.parametrize("whence", ["127.0.0.1", "127.0.0.2"])
def test_a_hundred_silent_connections_keep_no_peer_out(
    open_door: OpenDoor, exam: list[Path], whence: str
) -> None:
    door = open_door(max_associations=5)
    with silent(door, 100, whence):
        assert store(door.port, exam) == [SUCCESS] * len(exam)
        assert len(door.listener._sessions) <= 1


def test_who_has_been_silent_for_longest_makes_room(
    door: Door, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "node.receive")
    with silent(door, door_module._PLACES + 1) as callers:
        assert callers[0].recv(1) == b""
        assert until(lambda: lines(caplog) != [])
        for caller in callers[1:]:
            caller.setblocking(False)
            with pytest.raises(BlockingIOError):
                caller.recv(1)
    assert lines(caplog) == [
        "Closed a connection from 127.0.0.1: it asked for nothing, and others came"
    ]


def test_a_stranger_that_says_nothing_is_closed_soon_and_a_peer_has_more_time(
    door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "node.receive")
    with connect(door) as peer, connect(door, "127.0.0.2") as stranger:
        assert stranger.recv(1) == b""
        peer.sendall(request(PLAIN, item(0x50, LENGTH + CLASS)))
        assert peer.recv(1) == b"\x02"
    assert lines(caplog)[0] == (
        "Closed a connection from 127.0.0.2: it asked for nothing within 2 s"
    )


def test_who_only_looks_whether_the_port_is_open_is_no_line(
    door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "node.receive")
    connect(door).close()
    assert until(lambda: any("it went without a word" in line for line in lines(caplog)))
    assert [record for record in caplog.records if record.levelno > logging.DEBUG] == []


def test_who_has_asked_keeps_his_place_while_his_name_is_looked_up(
    open_door: OpenDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Meanwhile others fill the room."""
    is_asked, may_be_told = threading.Event(), threading.Event()
    look_up = socket.getaddrinfo

    def look_up_slowly(host: Any, *how: Any, **more: Any) -> Any:
        if host != "room.example":
            return look_up(host, *how, **more)
        is_asked.set()
        assert may_be_told.wait(60)
        return look_up("127.0.0.2", *how, **more)

    monkeypatch.setattr(socket, "getaddrinfo", look_up_slowly)
    door = open_door(modality(host="room.example"))
    with connect(door, "127.0.0.2") as caller:
        caller.sendall(request(PLAIN, item(0x50, LENGTH + CLASS)))
        assert is_asked.wait(60)
        with silent(door, door_module._PLACES_OF_STRANGERS + 1, "127.0.0.2") as others:
            assert others[0].recv(1) == b""  # the room is full
            may_be_told.set()
            assert caller.recv(1) == b"\x02", "A-ASSOCIATE-AC"


def test_beyond_the_limit_a_peer_is_rejected_for_now_and_each_has_one(
    open_door: OpenDoor, caplog: pytest.LogCaptureFixture
) -> None:
    door = open_door(modality(), modality(name="other", ae_title=OTHER_AE), max_associations=1)
    with association(door.port, ECHO):
        with association(door.port, ECHO) as refused:
            answer = refused.acceptor.primitive
            assert answer is not None
            assert (answer.result, answer.result_source, answer.diagnostic) == (2, 3, 2)
        with association(door.port, ECHO, OTHER_AE) as opened:
            assert opened.is_established
    assert lines(caplog) == [
        "Rejected modality from 127.0.0.1: 1 associations are open, 1 of them its own, and "
        "[listener] max_associations is 1"
    ]
    assert until(lambda: not door.listener._sessions)
    with association(door.port, ECHO) as opened:
        assert opened.is_established


def test_a_rejection_that_was_faster_than_pynetdicom_is_one(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks whether it is connected when the answer may have come and gone."""

    class Late(threading.Event):
        def __init__(self, sock: AssociationSocket) -> None:
            super().__init__()
            self.sock = sock

        def wait(self, timeout: float | None = None) -> bool:
            return super().wait(timeout) and until(lambda: not self.sock._is_connected)

    made = AssociationSocket.__init__

    def make(self: AssociationSocket, *args: Any, **more: Any) -> None:
        made(self, *args, **more)
        if not self._is_connected:
            self._ready = Late(self)

    monkeypatch.setattr(AssociationSocket, "__init__", make)
    with pytest.raises(Rejected):
        echo(Address("AINODE", "127.0.0.1", door.port), "STRANGER")


# Who ended it


def test_a_sender_that_aborts_is_said_to_have_aborted(
    door: Door, exam: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    with association(door.port, contexts_of(exam)) as opened:
        assert opened.send_c_store(exam[0]).Status == SUCCESS
        opened.abort()
    assert until(lambda: lines(caplog) != [])
    assert lines(caplog) == ["modality aborted its association; 1 objects of it are kept"]


def test_a_connection_that_breaks_is_said_to_be_broken_by_the_peer(
    door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    with association(door.port, ECHO) as opened:
        opened.dul.socket.socket.shutdown(socket.SHUT_RDWR)  # type: ignore[union-attr]
    assert until(lambda: lines(caplog) != [])
    assert lines(caplog) == ["modality broke off its connection; 0 objects of it are kept"]


def test_an_association_that_says_nothing_is_aborted_by_the_node(
    open_door: OpenDoor, caplog: pytest.LogCaptureFixture
) -> None:
    door = open_door(idle_timeout_s=0.3)
    with association(door.port, ECHO) as opened:
        assert until(lambda: not opened.is_established)
    assert until(lambda: lines(caplog) != [])
    assert lines(caplog) == [
        "Aborted the association of modality: nothing came for 0.3 s; 0 objects of it are kept"
    ]


def test_who_stops_in_the_middle_of_a_message_is_let_go(
    open_door: OpenDoor, caplog: pytest.LogCaptureFixture
) -> None:
    door = open_door(idle_timeout_s=0.3)
    with connect(door) as caller:
        caller.sendall(request(PLAIN, item(0x50, LENGTH + CLASS)))
        assert caller.recv(4096)[:1] == b"\x02"
        caller.sendall(b"\x04\0\0\0\1\0")  # P-DATA-TF of 256 bytes
        assert until(lambda: not door.listener._sessions)
    [line] = lines(caplog)
    assert re.fullmatch(
        r"(Aborted the association|Closed the connection) of modality: nothing came for 0\.3 s; "
        "0 objects of it are kept",
        line,
    )


def test_the_time_that_the_node_takes_is_not_held_against_its_peer(
    open_door: OpenDoor, exam: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes longer for each object than a peer may be silent."""
    door = open_door(idle_timeout_s=0.5)
    keep = door.listener._reception.keep

    def keep_slowly(*args: Any) -> Any:
        begun = time.monotonic()
        assert until(lambda: time.monotonic() - begun > 0.6)
        return keep(*args)

    monkeypatch.setattr(door.listener._reception, "keep", keep_slowly)
    with association(door.port, contexts_of(exam)) as opened:
        assert [opened.send_c_store(path).Status for path in exam[:2]] == [SUCCESS] * 2
        assert opened.is_established


def test_a_message_out_of_place_is_said_to_be_one(
    door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    with connect(door) as caller:
        caller.sendall(request(PLAIN, item(0x50, LENGTH + CLASS)))
        assert caller.recv(4096)[:1] == b"\x02"
        caller.sendall(request(PLAIN))
        assert caller.recv(4096)[:6] == ABORT
    assert until(lambda: lines(caplog) != [])
    assert lines(caplog) == [
        "Aborted the association of modality: what it sent has no place in DICOM's protocol; "
        "0 objects of it are kept"
    ]


def test_a_node_that_stops_says_that_it_did(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "node.receive")
    with association(door.port, ECHO):
        door.listener.stop(0)
        assert "Aborted the association of modality: this node stops; 0 objects of it are kept" in (
            lines(caplog)
        )


def test_a_message_goes_out_whole_whoever_else_sends_one(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A report of storage commitment, while another thread answers what comes."""
    with association(door.port, ECHO):
        assert until(lambda: bool(door.listener._sessions))
        [opened] = door.listener._sessions
        senders: list[str] = []

        def send(_: object = None) -> None:
            report = N_EVENT_REPORT()
            report.MessageID, report.EventTypeID = 1, 1
            report.AffectedSOPClassUID = report.AffectedSOPInstanceUID = Verification
            report.EventInformation = BytesIO(b"information ")
            opened.dimse.send_msg(report, 1)

        other = threading.Thread(target=send, name="other")

        def take(_: object) -> None:
            senders.append(threading.current_thread().name)
            if len(senders) == 1:
                other.start()
                other.join(0.3)  # time enough to come between, if nothing keeps it from that

        monkeypatch.setattr(opened.dul, "send_pdu", take)
        send()
        other.join()
        monkeypatch.undo()
    assert len(senders) == 4
    assert senders[0] == senders[1] != senders[2] == senders[3]


# What cannot be written, and what nobody waits for


def parts_of(opened: Association, path: Path) -> list[Any]:
    """Return the messages in which a file is sent by C-STORE, to be sent one by one."""
    with path.open("rb") as file:
        begins_at = data_set_begins_at(file)
    message = C_STORE()
    message.MessageID, message.Priority = 7, 2
    message.AffectedSOPClassUID = DigitalMammographyXRayImageStorageForPresentation
    message.AffectedSOPInstanceUID = read_file_meta_info(path).MediaStorageSOPInstanceUID
    message._dataset_path = (path, begins_at)
    encoded = C_STORE_RQ()
    encoded.primitive_to_message(message)
    context_id = opened.accepted_contexts[0].context_id
    assert context_id is not None
    return list(encoded.encode_msg(context_id, 16384))


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Have the system refuse to write more to a file, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_an_object_that_cannot_be_written_is_answered_and_the_next_one_comes(
    door: Door, exam: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    with association(door.port, contexts_of(exam)) as opened:
        assert opened.send_c_store(exam[0]).Status == SUCCESS
        with files_of_at_most(20_000):
            assert opened.send_c_store(exam[1]).Status == OUT_OF_RESOURCES
            assert door.files("incoming") == []
        assert [opened.send_c_store(path).Status for path in exam[1:]] == [SUCCESS] * 3
    assert lines(caplog) == ["Could not keep an object: File too large"]


def test_an_object_that_came_whole_is_kept_though_its_sender_waits_for_no_answer(
    door: Door, exam: list[Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    has_aborted = threading.Event()
    keep = door.listener._reception.keep

    def keep_late(*args: Any) -> Any:
        assert has_aborted.wait(30)
        return keep(*args)

    monkeypatch.setattr(door.listener._reception, "keep", keep_late)
    with association(door.port, contexts_of(exam)) as opened:
        for part in parts_of(opened, exam[0]):
            opened.dul.send_pdu(part)
        assert until(lambda: len(door.files("incoming")) == 1)
        opened.abort()
        has_aborted.set()
    assert until(lambda: not door.listener._sessions)
    assert door.files("incoming") == []
    assert len(door.instances()) == 1
    assert lines(caplog) == ["modality aborted its association; 1 objects of it are kept"]


@pytest.mark.parametrize(
    "command",
    [
        struct.pack("<HHLH", 0, 0x0100, 2, 0x7777),  # a Command Field nobody knows
        struct.pack("<HHLH", 0, 0x0100, 2, 1) + struct.pack("<HHLH", 0, 0x0800, 2, 1),  # no UIDs
        b"\xff",
    ],
)
def test_a_command_that_makes_no_message_ends_in_one_line_and_leaves_nothing(
    door: Door, exam: list[Path], caplog: pytest.LogCaptureFixture, command: bytes
) -> None:
    with association(door.port, contexts_of(exam)) as opened:
        context_id = opened.accepted_contexts[0].context_id
        value = struct.pack(">LBB", len(command) + 2, context_id, 3) + command
        opened.dul.socket.send(b"\x04\0" + struct.pack(">L", len(value)) + value)  # type: ignore[union-attr]
        assert until(lambda: not opened.is_established)
    assert until(lambda: not door.listener._sessions)
    assert lines(caplog) == [
        "What came from MODALITY makes no message",
        "Aborted the association of modality: what it sent has no place in DICOM's protocol; "
        "0 objects of it are kept",
    ]
    assert door.files("incoming") == []


def test_nobody_at_the_port_is_no_rejection(door: Door) -> None:
    port = door.port
    door.listener.stop(0)
    with pytest.raises(DeliveryError, match="cannot be reached"):
        echo(Address("AINODE", "127.0.0.1", port), MODALITY_AE)
