"""Objects that go straight into their files, and all else that may come between their parts."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import factories
import pytest
from peers import modality
from pydicom.uid import (
    DigitalMammographyXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pynetdicom.dimse_primitives import N_EVENT_REPORT
from pynetdicom.pdu_items import PresentationContextItemAC, PresentationContextItemRQ
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StorageCommitmentPushModel,
    Verification,
)

from node.current import Loaded
from node.dimse.status import (
    CANNOT_UNDERSTAND,
    CLASS_NOT_SUPPORTED,
    OUT_OF_RESOURCES,
    SUCCESS,
)
from node.receive.incoming import IncomingMessages
from node.receive.upper_layer import DataValue
from node.store import dataset_digest

from .by_hand import (
    ABORT_BY_PEER,
    COMMAND,
    DATA,
    LAST,
    ODD_ELEMENT,
    RELEASE_RP,
    RELEASE_RQ,
    Caller,
    Object,
    calling,
    command_set,
    context,
    element,
    elements_of,
    pdu,
    store_request,
    value,
)
from .doors import Door, OpenDoor, until

MG = DigitalMammographyXRayImageStorageForPresentation
STORAGE, ECHO = context(1, MG), context(3, Verification)
ABORT_BY_NODE = b"\x07\0\0\0\0\x04"
OUT_OF_PLACE = "what it sent has no place in DICOM's protocol"


@pytest.fixture
def objects(exam: list[Path]) -> list[Object]:
    return [Object.of(path) for path in exam]


def echo_request(message_id: int = 9) -> bytes:
    return command_set(
        element(0x0002, Verification.encode()),
        element(0x0100, struct.pack("<H", 0x0030)),
        element(0x0110, struct.pack("<H", message_id)),
        element(0x0800, struct.pack("<H", 0x0101)),
    )


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name.startswith("node.receive")]


def aborts(caller: Caller) -> None:
    assert caller.hear()[:6] == ABORT_BY_NODE


def has_let_go(door: Door) -> bool:
    return until(lambda: not door.listener._sessions)


def kept(door: Door) -> list[bytes]:
    return [path.read_bytes() for path in door.files("received")]


# What is kept


@pytest.mark.parametrize("size", [7, 1000, 16_000, 1 << 20])
@pytest.mark.parametrize("per_pdu", [1, 3, 10_000])
def test_in_pieces_of_any_size_and_any_number_in_a_message_an_object_is_kept_as_it_is(
    door: Door, objects: list[Object], size: int, per_pdu: int
) -> None:
    values = objects[0].values(5, size)
    with calling(door.port, [STORAGE]) as caller:
        caller.say(*(pdu(*values[at : at + per_pdu]) for at in range(0, len(values), per_pdu)))
        assert caller.status() == (5, SUCCESS)
        caller.release()
    [content] = kept(door)
    assert content.endswith(objects[0].data_set)
    assert has_let_go(door)
    assert door.files("incoming") == []


def test_a_request_that_is_odd_makes_the_same_file_by_way_of_pynetdicom(
    open_door: OpenDoor, objects: list[Object], monkeypatch: pytest.MonkeyPatch
) -> None:
    door, handed_over, came = open_door(), [], []
    receive = IncomingMessages.receive_primitive
    keep = door.listener._reception.keep

    def count(self: IncomingMessages, part: Any) -> None:
        handed_over.append(part)
        receive(self, part)

    def look(path: Path, sender: Any, digest: str = "") -> Any:
        came.append((path.read_bytes(), digest or dataset_digest(path)))
        return keep(path, sender, digest)

    monkeypatch.setattr(IncomingMessages, "receive_primitive", count)
    monkeypatch.setattr(door.listener._reception, "keep", look)
    with calling(door.port, [STORAGE]) as caller:
        for odd in (b"", ODD_ELEMENT):
            assert handed_over == []
            caller.say(*map(pdu, objects[0].values(odd=odd)))
            assert caller.status() == (1, SUCCESS)
        caller.release()
    assert handed_over != []
    assert came[0] == came[1]
    [row] = door.instances()
    assert row == objects[0].sop_instance


def test_a_sender_that_waits_for_no_answer_gets_each_in_its_order(
    door: Door, objects: list[Object]
) -> None:
    values = [value(COMMAND | LAST, echo_request(), 3)]
    for number, one in enumerate(objects):
        odd = ODD_ELEMENT if number == 2 else b""
        values += one.values(10 + number, odd=odd)
    values.append(value(COMMAND | LAST, echo_request(20), 3))
    with calling(door.port, [STORAGE, ECHO]) as caller:
        caller.say(*(pdu(*values[at : at + 3]) for at in range(0, len(values), 3)), RELEASE_RQ)
        answers = [caller.status() for _ in range(6)]
        assert answers == [(number, SUCCESS) for number in (9, 10, 11, 12, 13, 20)]
        assert caller.hear() == RELEASE_RP
    assert len(door.instances()) == 4


def test_objects_come_on_several_contexts_each_in_its_own_syntax(
    door: Door, exam: list[Path], tmp_path: Path
) -> None:
    dataset = factories.exam()[1]
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    dataset.save_as(tmp_path / "implicit.dcm", enforce_file_format=True)
    explicit, implicit = Object.of(exam[0]), Object.of(tmp_path / "implicit.dcm")
    contexts = [STORAGE, context(5, MG, ImplicitVRLittleEndian)]
    with calling(door.port, contexts) as caller:
        caller.say(*map(pdu, implicit.values(1, context_id=5)), *map(pdu, explicit.values(2)))
        assert [caller.status(), caller.status()] == [(1, SUCCESS), (2, SUCCESS)]
        caller.release()
    found = [path.read_bytes() for path in door.files("received")]
    assert {content[-100:] for content in found} == {
        one.data_set[-100:] for one in (explicit, implicit)
    }
    syntaxes = {
        ExplicitVRLittleEndian.encode() in content[:400]: content[-100:] for content in found
    }
    assert syntaxes.keys() == {True, False}


def test_a_command_in_several_pieces_is_one(door: Door, objects: list[Object]) -> None:
    [command, *data] = objects[0].values()
    content = command[6:]
    pieces = [value(COMMAND, content[at : at + 9]) for at in range(0, len(content) - 9, 9)]
    rest = content[9 * len(pieces) :]
    with calling(door.port, [STORAGE]) as caller:
        caller.say(*map(pdu, pieces), pdu(value(COMMAND | LAST, rest)), *map(pdu, data))
        assert caller.status() == (1, SUCCESS)
        caller.release()


def test_a_command_in_thousands_of_empty_pieces_is_not_gathered(
    door: Door, objects: list[Object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After some it is pynetdicom's to put together, which looks at each of them once."""
    gathered = []
    take = IncomingMessages._take_command

    def count(self: IncomingMessages, part: DataValue) -> None:
        take(self, part)
        gathered.append(len(self._command))

    monkeypatch.setattr(IncomingMessages, "_take_command", count)
    with calling(door.port, [STORAGE]) as caller:
        caller.say(pdu(*[value(COMMAND, b"")] * 2000), *map(pdu, objects[0].values(4)))
        assert caller.status() == (4, SUCCESS)
        caller.release()
    assert len(gathered) == max(gathered) + 1 < 200


@pytest.mark.parametrize("longest", [60, 0])
def test_who_takes_only_short_messages_gets_his_answer_in_several(
    door: Door, objects: list[Object], longest: int
) -> None:
    with calling(door.port, [STORAGE], longest) as caller:
        caller.say(*map(pdu, objects[0].values(77)))
        command, control = b"", 0
        while not control & LAST:
            answer = caller.hear()
            assert not longest or len(answer) - 6 <= longest
            control = answer[11]
            command += answer[12:]
        values = dict(elements_of(command))
        assert values[0x0120] == struct.pack("<H", 77)
        assert values[0x0900] == struct.pack("<H", SUCCESS)
        caller.release()


# What is no object, or half of one


def test_a_request_without_an_object_is_refused_and_the_next_is_kept(
    door: Door, objects: list[Object]
) -> None:
    without = store_request(MG, objects[0].sop_instance, 3, data_set_type=0x0101)
    with calling(door.port, [STORAGE]) as caller:
        caller.say(pdu(value(COMMAND | LAST, without)), *map(pdu, objects[0].values(4)))
        assert [caller.status(), caller.status()] == [(3, CANNOT_UNDERSTAND), (4, SUCCESS)]
        caller.release()


def test_what_is_no_storage_is_refused_and_the_next_is_kept(
    door: Door, objects: list[Object]
) -> None:
    wrong = replace(objects[0], sop_class="1.2.840.10008.5.1.4.1.2.2.1")
    with calling(door.port, [STORAGE]) as caller:
        caller.say(*map(pdu, wrong.values(3)), *map(pdu, objects[1].values(4)))
        assert [caller.status(), caller.status()] == [(3, CLASS_NOT_SUPPORTED), (4, SUCCESS)]
        caller.release()
    assert door.files("incoming") == []


@pytest.mark.parametrize(
    "rest",
    [
        [pdu(value(COMMAND | LAST, echo_request(), 3))],
        [pdu(value(DATA, b"more"), value(COMMAND, b"\0"))],
        [pdu(b"\0\0\0\x09\1\0")],  # a value longer than its message
        [pdu()],
        [b"\x02\0\0\0\0\4\0\0\0\0"],  # an acceptance, from who has asked
        [b"\x09\0\0\0\0\0"],  # no message of the protocol
    ],
    ids=["command", "command behind data", "too long", "empty", "acceptance", "unknown"],
)
def test_what_has_no_place_in_the_middle_of_an_object_ends_the_association_and_leaves_nothing(
    door: Door, objects: list[Object], rest: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    whole, half = objects[0].values(1), objects[1].values(2)[:3]
    with calling(door.port, [STORAGE, ECHO]) as caller:
        caller.say(*map(pdu, [*whole, *half]), *rest)
        assert caller.status() == (1, SUCCESS)
        aborts(caller)
    assert has_let_go(door)
    assert door.files("incoming") == []
    assert door.instances() == [objects[0].sop_instance]
    said = f"Aborted the association of modality: {OUT_OF_PLACE}"
    assert lines(caplog)[-1] == f"{said}; 1 objects of it are kept, one came half"


@pytest.mark.parametrize("per_pdu", [1, 10])
def test_an_object_that_goes_on_on_another_context_ends_the_association(
    door: Door, objects: list[Object], per_pdu: int
) -> None:
    """Its bytes are in another syntax than its request, and its file, say."""
    [request, *data] = objects[0].values()
    on_another = objects[0].values(context_id=5)[1:]
    values = [request, *data[:1], *on_another[1:]]
    contexts = [STORAGE, context(5, MG, ImplicitVRLittleEndian)]
    with calling(door.port, contexts) as caller:
        caller.say(*(pdu(*values[at : at + per_pdu]) for at in range(0, len(values), per_pdu)))
        aborts(caller)
    assert has_let_go(door)
    assert door.instances() == []
    assert door.files("incoming") == door.files("received") == []


@pytest.mark.parametrize(
    "rest",
    [value(DATA, b"data"), value(DATA | LAST, b"data"), value(COMMAND, b"\0", 3)],
    ids=["data", "last data", "another context"],
)
def test_what_has_no_place_in_the_middle_of_a_command_ends_the_association(
    door: Door, objects: list[Object], rest: bytes
) -> None:
    [request, *data] = objects[0].values()
    half = value(COMMAND, request[6:40])
    with calling(door.port, [STORAGE, ECHO]) as caller:
        caller.say(*map(pdu, [half, rest, request, *data]))
        aborts(caller)
    assert has_let_go(door)
    assert door.instances() == []
    assert door.files("incoming") == []


@pytest.mark.parametrize("control", [DATA, DATA | LAST])
def test_an_object_without_a_request_ends_the_association(
    door: Door, control: int, caplog: pytest.LogCaptureFixture
) -> None:
    with calling(door.port, [STORAGE]) as caller:
        caller.say(pdu(value(control, b"data")), pdu(value(DATA | LAST, b"data")))
        aborts(caller)
    assert has_let_go(door)
    assert lines(caplog)[-1].startswith(f"Aborted the association of modality: {OUT_OF_PLACE}")


def test_behind_what_makes_no_message_nothing_is_taken(door: Door, objects: list[Object]) -> None:
    with calling(door.port, [STORAGE]) as caller:
        caller.say(pdu(value(COMMAND | LAST, b"\xff"), *objects[0].values()))
        aborts(caller)
    assert has_let_go(door)
    assert door.instances() == []
    assert door.files("incoming") == []


def test_an_object_on_a_context_that_was_not_negotiated_ends_the_association(
    door: Door, objects: list[Object]
) -> None:
    with calling(door.port, [STORAGE]) as caller:
        caller.say(*map(pdu, objects[0].values(context_id=7)))
        aborts(caller)
    assert has_let_go(door)
    assert door.files("incoming") == []
    assert door.instances() == []


@pytest.mark.parametrize("rest", [b"", b"\x04\0", pdu(value(DATA, b"data"))[:-2]])
@pytest.mark.parametrize("ends", [True, False])
def test_a_connection_that_breaks_in_the_middle_of_an_object_leaves_nothing(
    door: Door, objects: list[Object], caplog: pytest.LogCaptureFixture, rest: bytes, ends: bool
) -> None:
    with calling(door.port, [STORAGE]) as caller:
        caller.say(*map(pdu, objects[0].values()))
        assert caller.status() == (1, SUCCESS)
        caller.say(*map(pdu, objects[1].values(2)[:3]), rest)
        assert until(lambda: len(door.files("incoming")) == 1)
        if not ends:  # it is reset
            linger = struct.pack("ii", 1, 0)
            caller.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    assert has_let_go(door)
    assert door.files("incoming") == []
    assert lines(caplog) == [
        "modality broke off its connection; 1 objects of it are kept, one came half"
    ]


def test_who_falls_silent_in_the_middle_of_an_object_is_let_go(
    open_door: OpenDoor, objects: list[Object], caplog: pytest.LogCaptureFixture
) -> None:
    door = open_door(idle_timeout_s=0.3)
    with calling(door.port, [STORAGE]) as caller:
        caller.say(*map(pdu, objects[0].values()[:3]))
        aborts(caller)
    assert has_let_go(door)
    assert door.files("incoming") == []
    assert lines(caplog) == [
        "Aborted the association of modality: nothing came for 0.3 s; "
        "0 objects of it are kept, one came half"
    ]


def test_who_sends_a_message_byte_by_byte_is_let_go(
    open_door: OpenDoor, objects: list[Object], caplog: pytest.LogCaptureFixture
) -> None:
    """It is never silent for long, and would be at it for days."""
    door = open_door(idle_timeout_s=0.3)
    with calling(door.port, [STORAGE]) as caller:
        assert until(lambda: bool(door.listener._sessions))
        whole = iter(pdu(*objects[0].values(size=200)[:2]))

        def is_let_go() -> bool:
            with contextlib.suppress(OSError):  # it is
                caller.say(bytes([next(whole)]))
            return not door.listener._sessions

        assert until(is_let_go)
        assert next(whole, None) is not None
    said = "Aborted the association of modality: a message of it came too slowly"
    assert lines(caplog) == [f"{said}; 0 objects of it are kept"]


@pytest.mark.parametrize("kind", [b"\x04", b"\x05", b"\x07"])
def test_a_message_that_says_to_be_endless_is_not_waited_for(
    door: Door, kind: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with calling(door.port, [STORAGE]) as caller:
        caller.say(kind + b"\0\xff\xff\xff\xff")
        aborts(caller)
        assert caller.hear() == b""
    assert has_let_go(door)
    assert lines(caplog) == [
        "A message of MODALITY says to have 4294967295 bytes; 67108864 are taken at most",
        f"Aborted the association of modality: {OUT_OF_PLACE}; 0 objects of it are kept",
    ]


@pytest.mark.parametrize("source_and_reason", [b"\0\0", b"\2\0", b"\2\3", b"\2\x09", b"\7\7"])
def test_who_aborts_in_the_middle_of_an_object_leaves_nothing(
    door: Door, objects: list[Object], source_and_reason: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever it says of why, of which the standard reserves some (PS3.8 9.3.8)."""
    abort = ABORT_BY_PEER[:-2] + source_and_reason
    with calling(door.port, [STORAGE]) as caller:
        caller.say(*map(pdu, objects[0].values()[:3]), abort)
        assert caller.hear() == b""
    assert has_let_go(door)
    assert door.files("incoming") == []
    said = "modality aborted its association; 0 objects of it are kept, one came half"
    assert lines(caplog) == [said]


def test_of_an_object_whose_keeping_fails_by_a_defect_nothing_stays(
    door: Door, objects: list[Object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> int:
        raise KeyError("nobody thought of this")

    monkeypatch.setattr(door.listener, "keep", fail)
    with calling(door.port, [STORAGE]) as caller:
        caller.say(*map(pdu, objects[0].values()))
        assert caller.hear() == b""
    assert has_let_go(door)
    assert door.files("incoming") == []


def test_an_object_that_has_no_place_to_come_to_is_passed_over_and_the_next_is_kept(
    door: Door, objects: list[Object]
) -> None:
    folder = door.store.incoming
    away = folder.rename(folder.with_name("away"))
    with calling(door.port, [STORAGE]) as caller:
        caller.say(*map(pdu, objects[0].values(1)))
        assert caller.status() == (1, OUT_OF_RESOURCES)
        away.rename(folder)
        caller.say(*map(pdu, objects[0].values(2)))
        assert caller.status() == (2, SUCCESS)
        caller.release()


# Others that send on the same association


def test_a_report_goes_out_whole_while_an_answer_does(door: Door, objects: list[Object]) -> None:
    """Both are sent again and again; each message is whole before the next begins."""
    commitment = context(5, StorageCommitmentPushModel)
    rounds = 30
    with calling(door.port, [STORAGE, commitment], 100) as caller:
        assert until(lambda: bool(door.listener._sessions))
        [opened] = door.listener._sessions
        report = N_EVENT_REPORT()
        report.MessageID, report.EventTypeID = 1, 1
        report.AffectedSOPClassUID = report.AffectedSOPInstanceUID = StorageCommitmentPushModel

        def send() -> None:
            for _ in range(rounds):
                report.EventInformation = BytesIO(bytes(1000))
                opened.dimse.send_msg(report, 5)

        sender = threading.Thread(target=send)
        sender.start()
        caller.say(*(one for _ in range(rounds) for one in map(pdu, objects[0].values())))
        messages = [whole_message(caller) for _ in range(2 * rounds)]
        sender.join()
        caller.release()
    assert sorted(messages) == [1] * rounds + [5] * rounds


def whole_message(caller: Caller) -> int:
    """Return the context of the next message, whose parts follow each other."""
    found: list[int] = []
    while True:
        answer = caller.hear()
        context_id, control = answer[10], answer[11]
        found.append(context_id)
        is_end_of_command = control == COMMAND | LAST
        if control == DATA | LAST or (is_end_of_command and context_id == 1):
            assert len(set(found)) == 1, found
            return context_id


def test_a_node_that_stops_says_so_while_an_object_is_being_kept(
    door: Door,
    objects: list[Object],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "node.receive.listener")
    is_keeping, may_go_on = threading.Event(), threading.Event()
    keep = door.listener._reception.keep

    def keep_slowly(*args: Any) -> Any:
        is_keeping.set()
        assert may_go_on.wait(30)
        return keep(*args)

    monkeypatch.setattr(door.listener._reception, "keep", keep_slowly)
    with calling(door.port, [STORAGE]) as caller:
        caller.say(*map(pdu, objects[0].values()))
        assert is_keeping.wait(30)
        stopping = threading.Thread(target=door.listener.stop, args=[0])
        stopping.start()
        aborts(caller)
        may_go_on.set()
        stopping.join()
    assert door.files("incoming") == []
    assert lines(caplog)[-1].startswith("Aborted the association of modality: this node stops; 1 ")


def test_a_peer_that_reads_nothing_does_not_keep_the_node_from_stopping(
    door: Door, objects: list[Object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.receive.association.LEAVES_WITHIN_S", 0.1)
    is_stuck = threading.Event()
    with calling(door.port, [STORAGE]) as caller:
        assert until(lambda: bool(door.listener._sessions))
        [opened] = door.listener._sessions

        def send_for_ever() -> None:
            with opened.dul.turn:  # type: ignore[attr-defined]
                is_stuck.set()
                connected = opened.dul.socket.socket  # type: ignore[union-attr]
                while True:
                    try:
                        connected.send(bytes(1 << 20))  # type: ignore[union-attr]
                    except OSError:
                        return

        sender = threading.Thread(target=send_for_ever)
        sender.start()
        assert is_stuck.wait(30)
        door.listener.stop(0)
        sender.join(30)
        assert not sender.is_alive()
        assert caller.connection.fileno() >= 0


# The same request again


def test_a_request_that_came_before_is_answered_as_it_was(
    door: Door, objects: list[Object], caplog: pytest.LogCaptureFixture
) -> None:
    contexts = [STORAGE, ECHO, context(5, "1.2.840.10008.5.1.4.1.2.2.1"), context(7, MG, "1.2.3.4")]
    answers = []
    for number, one in enumerate(objects):
        with calling(door.port, contexts) as caller:
            answers.append(caller.accepted)
            caller.say(*map(pdu, one.values(number)), pdu(value(COMMAND | LAST, echo_request(), 3)))
            assert [caller.status(), caller.status()] == [(number, SUCCESS), (9, SUCCESS)]
            caller.release()
    assert len(set(answers)) == 1
    assert len(door.instances()) == 4
    refused = [one for one in lines(caplog) if "in no transfer syntax that is read here" in one]
    assert len(refused) == 4


def test_of_a_request_that_came_before_no_context_is_made_again(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of hundreds that takes a tenth of a second, and some senders come anew for each object."""
    contexts = [context(1 + 2 * number, f"1.2.826.0.1.{number}") for number in range(100)]
    made: list[object] = []

    def watch(kind: type) -> None:
        as_it_is: Any = kind.__dict__["__init__"]

        def counting(self: object, *args: Any) -> None:
            made.append(self)
            as_it_is(self, *args)

        monkeypatch.setattr(kind, "__init__", counting)

    for kind in (PresentationContext, PresentationContextItemRQ, PresentationContextItemAC):
        watch(kind)

    def how_many() -> int:
        made.clear()
        with calling(door.port, contexts) as caller:
            caller.release()
        return len(made)

    assert how_many() >= 300
    assert [how_many(), how_many()] == [0, 0]


def test_what_was_accepted_before_a_reload_is_not_accepted_after_it(open_door: OpenDoor) -> None:
    door = open_door(modality(commits=True))

    def result() -> int:
        with calling(door.port, [context(1, StorageCommitmentPushModel)]) as caller:
            caller.release()
            return caller.accepted[caller.accepted.index(b"\x21\0") + 6]

    accepted, no_such_class = 0, 3
    assert [result(), result()] == [accepted] * 2
    now = door.listener._current
    now.become(Loaded(now.config.model_copy(update={"peers": (modality(),)})))
    assert [result(), result()] == [no_such_class] * 2
