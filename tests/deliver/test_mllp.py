"""Messages over MLLP, to a server that python-hl7 is, and to some that misbehave."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Iterator
from datetime import UTC

import pytest
from levels_told import LEVEL
from ports import free_port
from reading_lists import Answer, ReadingList, acknowledging, reading_list, silent

from node.deliver.messages.hl7 import build_hl7
from node.deliver.messages.mllp import Acknowledgement, read_acknowledgement
from node.deliver.messages.receiver import MessageRefused, receiver_of
from node.errors import DeliveryError, Unreached, Unsent

CONTROL_ID = "ABCDEFGHIJKLMNOPQRST"


def tell(it: ReadingList, *, timeout_s: float = 10) -> None:
    settings = it.settings(timeout_s=timeout_s)
    content = build_hl7(LEVEL, (), settings, control_id=CONTROL_ID, zone=UTC)
    receiver_of(settings).bring(content, CONTROL_ID)


@contextlib.contextmanager
def saying(what: bytes) -> Iterator[ReadingList]:
    """Run a server that says this to whoever sends something, and hangs up."""
    server = socket.create_server(("localhost", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            connection, _ = server.accept()
            connection.recv(65536)
            connection.sendall(what)
            connection.close()

    thread = threading.Thread(target=serve)
    thread.start()
    yield ReadingList(port=server.getsockname()[1])
    server.close()
    thread.join()


@pytest.mark.parametrize("code", ["AA", "CA"])
def test_what_is_acknowledged_has_arrived_as_it_was(code: str) -> None:
    with reading_list(ReadingList(acknowledging(code))) as ris:
        tell(ris)
    (message,) = ris.heard
    assert str(message.segment("MSH")(10)) == CONTROL_ID
    assert len(message.segments("OBX")) == 9


@pytest.mark.parametrize("code", ["AE", "AR", "CE", "CR"])
def test_a_refusal_is_no_matter_of_trying_again(code: str) -> None:
    with reading_list(ReadingList(acknowledging(code))) as ris, pytest.raises(MessageRefused) as no:
        tell(ris)
    assert str(no.value) == f"ris answered {code}; its own log says why"
    assert not isinstance(no.value, Unreached)


def test_why_it_refuses_is_said_in_numbers_and_never_in_its_own_words() -> None:
    error = "ERR||PID^1^3|204^Unknown^HL70357|E|||Patient DOE JANE is unknown\r"
    refusing = acknowledging("AE", more=f"MSA-3|DOE\r{error}")
    with reading_list(ReadingList(refusing)) as ris, pytest.raises(MessageRefused) as no:
        tell(ris)
    assert str(no.value) == "ris answered AE: 204 unknown key identifier, PID^1^3"


def test_its_own_words_are_logged_only_for_who_looks_for_a_fault(
    caplog: pytest.LogCaptureFixture,
) -> None:
    refusing = acknowledging("AE", more="ERR|||207|E|||DOE JANE\r")
    for level in (logging.INFO, logging.DEBUG):
        caplog.clear()
        with (
            caplog.at_level(level),
            reading_list(ReadingList(refusing)) as ris,
            pytest.raises(MessageRefused),
        ):
            tell(ris)
        assert ("DOE JANE" in caplog.text) == (level == logging.DEBUG)


def test_an_answer_to_another_message_is_none() -> None:
    with (
        reading_list(ReadingList(acknowledging(control_id="ANOTHER"))) as ris,
        pytest.raises(DeliveryError, match="answered to another message") as raised,
    ):
        tell(ris)
    assert not isinstance(raised.value, (MessageRefused, Unreached))


@pytest.mark.parametrize(
    ("answer", "closes", "words"),
    [
        (silent, False, r"has not answered in 0\.3 s"),
        (acknowledging(), True, "broke off instead of answering"),
    ],
)
def test_who_does_not_answer_may_have_heard(answer: Answer, closes: bool, words: str) -> None:
    with (
        reading_list(ReadingList(answer, closes=closes)) as ris,
        pytest.raises(Unreached, match=words) as raised,
    ):
        tell(ris, timeout_s=0.3 if not closes else 10)
    assert not isinstance(raised.value, Unsent)
    assert len(ris.heard) == 1


def test_who_is_not_there_has_heard_nothing() -> None:
    with pytest.raises(Unsent, match="cannot be reached: Connection refused"):
        tell(ReadingList(port=free_port()))
    settings = ReadingList(port=1).settings(host="nowhere.invalid")
    with pytest.raises(Unsent, match=r"nowhere\.invalid:1 cannot be reached"):
        receiver_of(settings).bring(b"MSH", CONTROL_ID)


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x15",
        b"\x0b\x1c\r",
        b"\x0bhello\x1c\r",
        b"\x0bMSH|^~\\&|RIS\x1c\r",
        b"\x0bMSH|^~\\&|RIS\rMSA|??|X\x1c\r",
        b"\x0bMSH|\rMSA\x1c\r",
        b"\x0b" + b"x" * (2 << 20) + b"\x1c\r",
    ],
)
def test_what_is_no_acknowledgement_is_tried_again(said: bytes) -> None:
    with saying(said) as ris, pytest.raises(DeliveryError) as raised:
        tell(ris)
    assert not isinstance(raised.value, (MessageRefused, Unsent))


def test_an_acknowledgement_is_read_by_its_own_separators() -> None:
    said = b"MSH#*~\\&#RIS\rMSA#AE#X1\rERR##PID*1*5#101*Required\r"
    assert read_acknowledgement(said, "ris") == Acknowledgement(
        "AE", "X1", "101 required field missing, PID^1^5"
    )
    assert read_acknowledgement(b"MSH|^~\\&|RIS\nMSA|AA|X1\n", "ris") == Acknowledgement("AA", "X1")
